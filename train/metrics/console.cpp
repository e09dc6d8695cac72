#include "train/metrics/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "autograd/base/descriptor.h"

namespace shoal {
namespace {

constexpr std::string_view kClear = "\r\x1b[K";

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

bool can_rewrite(int file) {
  return ::isatty(file) == 1 && is_set("TERM") && std::string_view(std::getenv("TERM")) != "dumb";
}

}  // namespace

Console::Console(int file, bool rewrites, bool color)
    : file_(file), rewrites_(rewrites), color_(color) {}

Console::~Console() { clear(); }

Console& Console::standard_error() {
  static Console console(STDERR_FILENO, can_rewrite(STDERR_FILENO),
                         can_rewrite(STDERR_FILENO) && !is_set("NO_COLOR"));
  return console;
}

void Console::set_quiet(bool quiet) {
  clear();
  const std::lock_guard lock(mutex_);
  quiet_ = quiet;
}

void Console::line(std::string_view text) {
  const std::lock_guard lock(mutex_);
  put_line(text);
}

void Console::say(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (!quiet_) put_line(text);
}

void Console::put_line(std::string_view text) const {
  std::string out;
  if (!shown_.empty()) out += kClear;
  out += text;
  out += '\n';
  if (!shown_.empty()) out += drawn();
  put(out);
}

void Console::show(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (!rewrites_ || quiet_) return;
  shown_ = text;
  put(std::string(kClear) + drawn());
}

void Console::clear() {
  const std::lock_guard lock(mutex_);
  if (shown_.empty()) return;
  shown_.clear();
  put(kClear);
}

std::string Console::drawn() const {
  struct winsize size {};
  std::size_t columns = 80;
  if (::ioctl(file_, TIOCGWINSZ, &size) == 0 && size.ws_col > 1) columns = size.ws_col;
  std::string text = shown_.substr(0, columns - 1);  // a full line would wrap
  if (!color_) return text;
  std::string out;
  for (const char c : text) {  // separators step back
    if (c == '|') {
      out += "\x1b[2m|\x1b[0m";
    } else {
      out += c;
    }
  }
  return out;
}

void Console::put(std::string_view bytes) const {
  (void)write_all(file_, bytes);  // a closed terminal is no reason to stop
}

}  // namespace shoal

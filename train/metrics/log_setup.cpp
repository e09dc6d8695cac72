#include "train/metrics/log_setup.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <mutex>

#include "autograd/base/write_file.h"
#include "train/metrics/console.h"

namespace shoal {
namespace {

class ConsoleSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    Console& console = Console::standard_error();
    const std::string text = printable_lines({message.payload.data(), message.payload.size()});
    console.line(prefix(message.level, console.color()) + text);
  }
  void flush_() override {}

 private:
  static std::string prefix(spdlog::level::level_enum level, bool color) {
    if (level < spdlog::level::warn) return "";
    const bool error = level >= spdlog::level::err;
    const std::string word = error ? "error: " : "warning: ";
    return color ? (error ? "\x1b[1;31m" : "\x1b[1;33m") + word + "\x1b[0m" : word;
  }
};

// spdlog's pattern over a payload without control characters.
class PrintableFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const std::string text = printable_lines({message.payload.data(), message.payload.size()});
    spdlog::details::log_msg clean(message);
    clean.payload = text;
    pattern_.format(clean, out);
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<PrintableFormatter>();
  }

 private:
  spdlog::pattern_formatter pattern_{"%Y-%m-%d %H:%M:%S.%e %-7l %v"};
};

class FileSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FileSink(const std::string& path) : file_(open_to_write(path, Write::kAppend)) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    if (!write_all(file_, {line.data(), line.size()})) {
      throw spdlog::spdlog_ex("cannot be written", errno);
    }
  }
  void flush_() override {}

 private:
  Descriptor file_;
};

spdlog::sink_ptr& file_sink() {
  static spdlog::sink_ptr sink;
  return sink;
}

}  // namespace

void set_up_log(int verbosity) {
  const auto sink = std::make_shared<ConsoleSink>();
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::err, spdlog::level::warn,
                                                   spdlog::level::info, spdlog::level::debug};
  sink->set_level(kLevels[std::clamp(verbosity, -2, 1) + 2]);
  Console::standard_error().set_quiet(verbosity < 0);
  const auto logger = std::make_shared<spdlog::logger>("shoal", sink);
  logger->set_level(spdlog::level::debug);
  logger->flush_on(spdlog::level::debug);
  // A log that cannot be written (full disk) is said once and is no reason to stop.
  logger->set_error_handler([said = false](const std::string& what) mutable {
    if (!said) Console::standard_error().line("warning: log: " + printable(what));
    said = true;
  });
  spdlog::set_default_logger(logger);
  file_sink().reset();
}

void open_log_file(const std::string& path) {
  close_log_file();
  file_sink() = std::make_shared<FileSink>(path);
  file_sink()->set_formatter(std::make_unique<PrintableFormatter>());
  spdlog::default_logger()->sinks().push_back(file_sink());
}

void close_log_file() {
  auto& sinks = spdlog::default_logger()->sinks();
  sinks.erase(std::remove(sinks.begin(), sinks.end(), file_sink()), sinks.end());
  file_sink().reset();
}

void log_to_file(std::string_view line) {
  if (!file_sink()) return;
  const spdlog::details::log_msg message("shoal", spdlog::level::info, line);
  try {
    file_sink()->log(message);
    file_sink()->flush();
  } catch (const spdlog::spdlog_ex&) {
    // said by the logger's own messages
  }
}

}  // namespace shoal

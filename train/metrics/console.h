#pragma once
#include <mutex>
#include <string>
#include <string_view>

namespace shoal {

// What people see (stderr). On a terminal the last line may be rewritten in place; permanent
// lines push it down. Log messages and the progress line share this object, so neither tears the
// other. Safe to call from any thread.
class Console {
 public:
  // rewrites: the terminal can return to the start of a line; color: it may be coloured.
  Console(int file, bool rewrites, bool color);
  ~Console();  // clears the rewritten line
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  // stderr: rewrites if it is a terminal and TERM is not "dumb"; coloured if NO_COLOR is not set
  // either.
  static Console& standard_error();

  bool rewrites() const { return rewrites_; }
  bool color() const { return color_; }
  // While quiet (-q) only line() shows something.
  void set_quiet(bool quiet);

  void line(std::string_view text);  // permanent
  void say(std::string_view text);   // permanent, unless quiet
  void show(std::string_view text);  // the rewritten line (ASCII), cut to the terminal's width
  void clear();                      // takes it away

 private:
  void put_line(std::string_view text) const;
  void put(std::string_view bytes) const;
  std::string drawn() const;

  int file_;
  bool rewrites_, color_, quiet_ = false;
  std::string shown_;
  std::mutex mutex_;
};

}  // namespace shoal

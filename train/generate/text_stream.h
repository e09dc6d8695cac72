#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace shoal {

// Text that comes in pieces and ends before the first occurrence of one of the `stops`: lets go of
// a piece once it cannot begin one of them.
class StopText {
 public:
  explicit StopText(std::vector<std::string> stops);
  std::string add(std::string_view piece);  // what is certain now; nothing once found()
  std::string finish();                     // the rest, which began a stop that never came
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

// Bytes that come in pieces: keeps back the beginning of a UTF-8 character until its end has come,
// or a byte with which it cannot go on. Bytes that are no UTF-8 pass through.
class WholeCharacters {
 public:
  std::string add(std::string_view piece);
  std::string finish();

 private:
  std::string held_;
};

}  // namespace shoal

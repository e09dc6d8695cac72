#pragma once
#include <concepts>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

namespace shoal {

// Why the program ends; the value is its exit code (README, "Exit codes").
enum class Failure : int {
  kComparison = 1,
  kUsage = 2,    // command line, config, or memory that will not fit
  kData = 3,     // bad corpus, token file, safetensors or checkpoint
  kNumbers = 4,  // not finite, and the policy was to stop
  kDisk = 5,
  kInternal = 70,  // a broken CHECK: our mistake or the calling program's
};

// The one exception type. Only `main` and tests catch it.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& what, Failure why = Failure::kInternal)
      : std::runtime_error(what), why_(why) {}
  Failure why() const { return why_; }

 private:
  Failure why_;
};

// What messages are put together from: text, a number as a stream prints it, or what has a text().
// Every file says something somewhere, so this has to compile fast: no stream, no template behind
// `concat`.
class TextPart {
 public:
  TextPart(std::string_view text) : text_(text) {}
  TextPart(const std::string& text) : text_(text) {}
  TextPart(const char* text) : text_(text) {}
  TextPart(char letter) : own_(1, letter) {}
  template <std::integral T>
  TextPart(T value) : own_(std::to_string(value)) {}
  TextPart(double value);
  template <class T>
  requires requires(const T& value) {
    { value.text() } -> std::same_as<std::string>;
  }
  TextPart(const T& value) : own_(value.text()) {}

  std::string_view text() const { return own_.empty() ? text_ : own_; }

 private:
  std::string_view text_;
  std::string own_;
};

std::string concat(std::initializer_list<TextPart> parts);

template <class... Detail>
std::string concat(const Detail&... detail) {
  return concat({TextPart(detail)...});
}

// The user's input is wrong: say file, place, and what would be right.
template <class... Detail>
[[noreturn]] void reject(Failure why, const Detail&... detail) {
  throw Error(concat({TextPart(detail)...}), why);
}

[[noreturn]] void check_failed(const char* file, int line, const char* expr,
                               std::initializer_list<TextPart> detail = {});

}  // namespace shoal

// Caller's mistake; always on, once per op. Never inside a parallel region: no exception may
// leave one.
#define CHECK(cond, ...)                                                                          \
  do {                                                                                            \
    if (!(cond)) [[unlikely]]                                                                     \
      ::shoal::check_failed(__FILE__, __LINE__, #cond __VA_OPT__(, {) __VA_ARGS__ __VA_OPT__(})); \
  } while (0)

// Our mistake inside a loop; debug builds only.
#ifdef NDEBUG
#define DCHECK(cond, ...) \
  do {                    \
  } while (0)
#else
#define DCHECK(cond, ...) CHECK(cond __VA_OPT__(, ) __VA_ARGS__)
#endif

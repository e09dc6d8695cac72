#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

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

template <class... Detail>
std::string concat(const Detail&... detail) {
  std::ostringstream out;
  (out << ... << detail);
  return out.str();
}

// The user's input is wrong: say file, place, and what would be right.
template <class... Detail>
[[noreturn]] void reject(Failure why, const Detail&... detail) {
  throw Error(concat(detail...), why);
}

template <class... Detail>
[[noreturn]] void check_failed(const char* file, int line, const char* expr,
                               const Detail&... detail) {
  throw Error(concat(file, ':', line, ": check failed: ", expr, sizeof...(Detail) > 0 ? ": " : "",
                     detail...));
}

}  // namespace shoal

// Caller's mistake; always on, once per op. Never inside a parallel region: no exception may
// leave one.
#define CHECK(cond, ...)                                                           \
  do {                                                                             \
    if (!(cond)) [[unlikely]]                                                      \
      ::shoal::check_failed(__FILE__, __LINE__, #cond __VA_OPT__(, ) __VA_ARGS__); \
  } while (0)

// Our mistake inside a loop; debug builds only.
#ifdef NDEBUG
#define DCHECK(cond, ...) \
  do {                    \
  } while (0)
#else
#define DCHECK(cond, ...) CHECK(cond __VA_OPT__(, ) __VA_ARGS__)
#endif

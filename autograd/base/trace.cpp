#include "autograd/base/trace.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "autograd/base/check.h"

namespace shoal {
namespace {

struct Event {
  std::string_view name, category;
  double begin_us, end_us;
};

struct Sink {
  std::string path;
  std::vector<Event> events;
  Sink() {
    const char* file = std::getenv("SHOAL_TRACE");
    if (file == nullptr || *file == '\0') return;
    path = file;
    events.reserve(1 << 16);
  }
  ~Sink() { write(); }
  // At exit nobody can be told by an exception.
  void warn() const {
    std::fprintf(stderr, "warning: SHOAL_TRACE: %s: cannot be written\n", path.c_str());
  }
  void write() const {
    if (path.empty()) return;
    std::FILE* out = std::fopen(path.c_str(), "w");
    if (out == nullptr) return warn();
    std::fputs("{\"traceEvents\":[\n", out);
    for (std::size_t i = 0; i < events.size(); ++i) {
      const Event& e = events[i];
      std::fprintf(out,
                   "%s{\"name\":\"%.*s\",\"cat\":\"%.*s\",\"ph\":\"X\",\"pid\":1,\"tid\":1,"
                   "\"ts\":%.3f,\"dur\":%.3f}",
                   i == 0 ? "" : ",\n", static_cast<int>(e.name.size()), e.name.data(),
                   static_cast<int>(e.category.size()), e.category.data(), e.begin_us,
                   e.end_us - e.begin_us);
    }
    std::fputs("\n]}\n", out);
    const bool failed = std::ferror(out) != 0;
    if (std::fclose(out) != 0 || failed) warn();
  }
};

Sink& sink() {
  static Sink instance;
  return instance;
}

double now_us() {
  using Clock = std::chrono::steady_clock;
  static const Clock::time_point start = Clock::now();
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

}  // namespace

bool trace_is_on() {
  static const bool on = !sink().path.empty();
  return on;
}

void write_trace() { sink().write(); }

void check_trace() {
  if (!trace_is_on()) return;
  std::FILE* out = std::fopen(sink().path.c_str(), "a");
  if (out == nullptr) {
    const int reason = errno;
    const std::string path = std::exchange(sink().path, "");  // nothing is to be written at exit
    reject(Failure::kUsage, "SHOAL_TRACE: ", path, ": cannot be written: ", std::strerror(reason));
  }
  std::fclose(out);
}

TraceSpan::TraceSpan(std::string_view name, std::string_view category)
    : name_(name), category_(category) {
  if (trace_is_on()) begin_us_ = now_us();
}
TraceSpan::~TraceSpan() {
  if (begin_us_ >= 0.0) sink().events.push_back({name_, category_, begin_us_, now_us()});
}

}  // namespace shoal

#pragma once
#include <string_view>

namespace shoal {

// Spans of phases and ops as a trace file that chrome://tracing and Perfetto open, written when
// the environment has SHOAL_TRACE=file. Without it a span costs one branch.
bool trace_is_on();
// Writes what was recorded so far; also called at exit.
void write_trace();
// Error(kUsage): SHOAL_TRACE names a file that cannot be written. Better known before than after.
void check_trace();

class TraceSpan {
 public:
  // Both texts must outlive the program's last span (literals, tape labels).
  explicit TraceSpan(std::string_view name, std::string_view category = "phase");
  ~TraceSpan();
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  std::string_view name_, category_;
  double begin_us_ = -1.0;
};

}  // namespace shoal

#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "train/metrics/console.h"
#include "train/metrics/records.h"

namespace shoal {

// What ends a run, whichever comes first; 0: no such limit.
struct ProgressGoal {
  std::int64_t steps = 0;
  double tokens = 0.0;
  double minutes = 0.0;
};

struct ProgressState {
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  double loss = 0;  // cross-entropy in nats per target, as an evaluation's; not the weighted sum
  double grad_norm = 0, lr = 0;
  double step_seconds = 0, tokens_per_second = 0;
  double run_seconds = 0;  // wall-clock time so far, as `minutes` counts it: with evals and saves

  ProgressState() = default;
  ProgressState(const StepRecord& record, double run_seconds);
};

// Seconds that are left, from the pace since `start`; not a number before there is one.
double estimate_seconds_left(const ProgressGoal& goal, const ProgressState& start,
                             const ProgressState& now);

// step 120/1000 | loss 3.2101 | norm 0.91 | lr 3.0e-4 | 812 ms | 41.2k tok/s | ETA 0:12:01
std::string progress_line(const ProgressGoal& goal, const ProgressState& now, double seconds_left);
// eval at step 100 | loss 1.9123 | 2.7589 bits per byte | 212k bytes in 4.1 s
// eval at step 100 | loss 1.9123 | 93.8% of 512 answer tokens right in 4.1 s
std::string eval_line(const EvalRecord& record);

// On a terminal one line, rewritten at most ten times a second; elsewhere a line every `every`
// steps and after the last one. `keep`, if given, gets those plain lines in both cases: for
// log.txt.
class Progress {
 public:
  using Keep = std::function<void(std::string_view)>;
  // start: where this process took over, step 0 or a checkpoint's.
  Progress(Console& console, const ProgressGoal& goal, const ProgressState& start,
           std::int64_t every, Keep keep = {});
  void step(const ProgressState& now);
  void eval(const EvalRecord& record);  // a permanent line
  void finish();                        // leaves the last line standing

 private:
  void plain(const std::string& line);

  Console& console_;
  ProgressGoal goal_;
  ProgressState start_;
  std::int64_t every_;
  Keep keep_;
  std::string last_;
  bool pending_ = false;  // last_ has not been written as a plain line
  std::chrono::steady_clock::time_point drawn_{};
};

}  // namespace shoal

#include "train/metrics/progress.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/check.h"
#include "autograd/base/quantity.h"

namespace shoal {

ProgressState::ProgressState(const StepRecord& record, double run_seconds)
    : step(record.step),
      tokens(record.tokens),
      loss(record.ce),
      grad_norm(record.grad_norm),
      lr(record.lr),
      step_seconds(record.step_seconds),
      tokens_per_second(record.tokens_per_second),
      run_seconds(run_seconds) {}

double estimate_seconds_left(const ProgressGoal& goal, const ProgressState& start,
                             const ProgressState& now) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  const double spent = now.run_seconds - start.run_seconds;
  double left = kNever;
  if (goal.minutes > 0) left = goal.minutes * 60.0 - now.run_seconds;
  if (goal.steps > 0 && now.step > start.step) {
    left = std::min(left, spent / static_cast<double>(now.step - start.step) *
                              static_cast<double>(goal.steps - now.step));
  }
  if (goal.tokens > 0 && now.tokens > start.tokens) {
    left = std::min(left, spent / static_cast<double>(now.tokens - start.tokens) *
                              (goal.tokens - static_cast<double>(now.tokens)));
  }
  if (left == kNever) return std::numeric_limits<double>::quiet_NaN();
  return std::max(left, 0.0);
}

std::string progress_line(const ProgressGoal& goal, const ProgressState& now, double seconds_left) {
  std::string where = fmt::format("step {}", now.step);
  if (goal.steps > 0) where += fmt::format("/{}", goal.steps);
  if (goal.tokens > 0) {
    where += fmt::format(" | {}/{} tokens", format_count(static_cast<double>(now.tokens)),
                         format_count(goal.tokens));
  }
  return fmt::format("{} | loss {:.4f} | norm {} | lr {} | {} | {} tok/s | ETA {}", where, now.loss,
                     now.grad_norm >= 1000.0 ? format_scientific(now.grad_norm)
                                             : fmt::format("{:.2f}", now.grad_norm),
                     format_scientific(now.lr), format_step_time(now.step_seconds),
                     format_count(now.tokens_per_second), format_duration(seconds_left));
}

std::string eval_line(const EvalRecord& record) {
  if (record.answers > 0) {
    return fmt::format("eval at step {} | loss {:.4f} | {:.1f}% of {} answer tokens right in {}",
                       record.step, record.loss, 100.0 * record.answer_accuracy,
                       format_count(static_cast<double>(record.answers)),
                       format_step_time(record.eval_seconds));
  }
  return fmt::format("eval at step {} | loss {:.4f} | {:.4f} bits per byte | {} bytes in {}",
                     record.step, record.loss, record.bits_per_byte,
                     format_count(static_cast<double>(record.bytes)),
                     format_step_time(record.eval_seconds));
}

Progress::Progress(Console& console, const ProgressGoal& goal, const ProgressState& start,
                   std::int64_t every, Keep keep)
    : console_(console), goal_(goal), start_(start), every_(every), keep_(std::move(keep)) {
  CHECK(every_ > 0, "progress: a line every ", every_, " steps");
}

void Progress::step(const ProgressState& now) {
  last_ = progress_line(goal_, now, estimate_seconds_left(goal_, start_, now));
  pending_ = true;
  if (now.step % every_ == 0) plain(last_);
  const auto clock = std::chrono::steady_clock::now();
  if (console_.rewrites() && clock - drawn_ >= std::chrono::milliseconds(100)) {
    console_.show(last_);
    drawn_ = clock;
  }
}

void Progress::eval(const EvalRecord& record) {
  const std::string line = eval_line(record);
  if (keep_) keep_(line);
  console_.say(line);
}

void Progress::finish() {
  console_.clear();
  const bool was_pending = pending_;
  if (was_pending) plain(last_);
  if (console_.rewrites() && !last_.empty()) console_.say(last_);
  last_.clear();
}

// On a terminal the rewritten line says it already; the file has to be told.
void Progress::plain(const std::string& line) {
  pending_ = false;
  if (keep_) keep_(line);
  if (!console_.rewrites()) console_.say(line);
}

}  // namespace shoal

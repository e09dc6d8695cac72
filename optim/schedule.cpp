#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "autograd/base/check.h"

namespace shoal {
namespace {

// The last step before the decay.
std::int64_t decay_start(const ScheduleConfig& config) {
  const double steps = config.decay_share * static_cast<double>(config.total_steps);
  return std::max(config.warmup_steps, config.total_steps - std::int64_t{std::llround(steps)});
}

}  // namespace

std::int64_t planned_steps(std::int64_t steps, double tokens, std::int64_t batch_tokens) {
  CHECK(steps >= 0 && tokens >= 0.0 && batch_tokens > 0, "planned_steps: ", steps, " steps, ",
        tokens, " tokens, ", batch_tokens, " a batch");
  if (tokens == 0.0) return steps;
  const double needed = std::ceil(tokens / static_cast<double>(batch_tokens));
  // Past 2^62 steps the sum of tokens is as good as no limit.
  if (needed >= 0x1.0p62) return steps;
  const std::int64_t by_tokens = static_cast<std::int64_t>(needed);
  return steps == 0 ? by_tokens : std::min(steps, by_tokens);
}

bool in_decay(const ScheduleConfig& config, std::int64_t step) {
  return config.total_steps > 0 && config.decay_share > 0.0 && step > decay_start(config);
}

double learning_rate(const ScheduleConfig& config, std::int64_t step) {
  CHECK(step >= 1, "learning_rate: step ", step);
  if (step <= config.warmup_steps) {
    return config.lr * static_cast<double>(step) / static_cast<double>(config.warmup_steps);
  }
  if (!in_decay(config, step)) return config.lr;
  if (step >= config.total_steps) return config.end_lr;  // to the bit, and beyond the plan
  const std::int64_t start = decay_start(config);
  const double progress =
      static_cast<double>(step - start) / static_cast<double>(config.total_steps - start);
  return config.end_lr +
         (config.lr - config.end_lr) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

}  // namespace shoal

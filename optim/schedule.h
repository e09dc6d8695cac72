#pragma once
#include <cstdint>

namespace shoal {

// Learning rate over the steps 1 .. total: linear warm-up, constant, cosine to end_lr over the last
// share of the steps.
struct ScheduleConfig {
  double lr = 1e-3, end_lr = 1e-4;
  std::int64_t warmup_steps = 50;  // step s of them trains at lr * s / warmup_steps
  double decay_share = 0.3;        // of total_steps; the decay never begins before warm-up ends
  std::int64_t total_steps = 0;    // 0: unknown (a run ended by minutes alone), no decay then
};

// Steps that `steps` and `tokens` allow, whichever is less; 0 means no such limit, in the result
// too.
std::int64_t planned_steps(std::int64_t steps, double tokens, std::int64_t batch_tokens);

// `step` counts from 1. At step total_steps the rate is end_lr, and it stays there.
double learning_rate(const ScheduleConfig& config, std::int64_t step);
bool in_decay(const ScheduleConfig& config, std::int64_t step);

}  // namespace shoal

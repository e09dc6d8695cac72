#include "train/config/batch_sizes.h"

#include <algorithm>

#include "optim/schedule.h"

namespace shoal {

std::vector<BatchSizes> sizes_of(const RunConfig& config) {
  std::vector<BatchSizes> all = {
      {0, config.data.sequence_length, config.train.batch_tokens, config.train.micro_batch}};
  for (const SizesSpec& spec : config.train.stages) {
    BatchSizes next = all.back();
    next.from_step = spec.from_step;
    if (spec.sequence_length > 0) next.sequence_length = spec.sequence_length;
    if (spec.batch_tokens > 0) next.batch_tokens = spec.batch_tokens;
    if (spec.micro_batch > 0) next.micro_batch = spec.micro_batch;
    if (next.from_step == 0) all.pop_back();  // nothing comes before it
    all.push_back(next);
  }
  return all;
}

std::int64_t planned_steps(const RunConfig& config) {
  const std::vector<BatchSizes> all = sizes_of(config);
  double tokens = config.train.tokens;
  for (std::size_t i = 0; i < all.size() && config.train.tokens > 0.0; ++i) {
    const BatchSizes& sizes = all[i];
    const std::int64_t steps = planned_steps(0, tokens, sizes.batch_tokens);
    const bool last = i + 1 == all.size();
    if (last || steps <= all[i + 1].from_step - sizes.from_step) {
      if (steps == 0) break;  // as good as no limit
      const std::int64_t total = sizes.from_step + steps;
      return config.train.steps == 0 ? total : std::min(config.train.steps, total);
    }
    tokens -= static_cast<double>(all[i + 1].from_step - sizes.from_step) *
              static_cast<double>(sizes.batch_tokens);
  }
  return config.train.steps;
}

}  // namespace shoal

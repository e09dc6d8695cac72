#pragma once
#include <cstdint>
#include <vector>

#include "train/config/run_config.h"

namespace shoal {

// The sizes of a run's steps, from one of them on.
struct BatchSizes {
  std::int64_t from_step = 0;        // updates done before the first step that has them
  std::int64_t sequence_length = 0;  // positions of a sequence
  std::int64_t batch_tokens = 0;     // of a step
  std::int64_t micro_batch = 0;      // sequences in one forward

  std::int64_t sequences() const { return batch_tokens / sequence_length; }
  std::int64_t micro_batches() const { return sequences() / micro_batch; }

  bool operator==(const BatchSizes&) const = default;
};

// All of a run in rising order, from step 0 on; a single one where train.stages is empty. What an
// entry of train.stages leaves out is as before it: at first as data.sequence_length,
// train.batch_tokens and train.micro_batch say.
std::vector<BatchSizes> sizes_of(const RunConfig& config);

// Steps until train.steps or train.tokens ends the run, whichever comes first; 0: neither does.
std::int64_t planned_steps(const RunConfig& config);

}  // namespace shoal

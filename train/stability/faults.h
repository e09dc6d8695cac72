#pragma once
#include <cstdint>
#include <span>

#include "data/batch.h"
#include "layers/model.h"
#include "layers/statistics.h"

namespace shoal {

// Faults that stability.provoke puts into a run, as pure functions of seed and step. (A pulse of
// the rate is the plan's own: RunPlan::at.)

// A bad batch: in every micro-batch the targets that count change places at random.
void shuffle_targets(std::span<Batch> batches, std::uint64_t seed, std::int64_t step);

// An expert's shock: all weights of the routed expert that got most tokens of this step (of equals
// the first), in the middle one of the layers that have experts, times `factor`.
struct ShockedExpert {
  std::int64_t layer = 0, expert = 0;
};
ShockedExpert shock_expert(Model& model, const ModelStats& stats, double factor);

}  // namespace shoal

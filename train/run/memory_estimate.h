#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "layers/model.h"
#include "train/config/run_config.h"
#include "train/plan/run_plan.h"

namespace shoal {

// Memory of a training step, by what takes it; arena and tape come from walking through a step
// without arithmetic.
struct MemoryEstimate {
  std::size_t parameters = 0, gradients = 0, optimizer = 0;
  std::size_t routes = 0;  // choices of experts ahead of their use
  TapeStats tape;
  std::size_t total() const { return parameters + gradients + optimizer + routes + tape.bytes(); }
};

// Of steps of these sizes; `dump`, if given, gets a line per op. Error(kUsage) where not even the
// residual streams of a micro-batch would fit.
MemoryEstimate estimate_memory(Model& model, const RunConfig& config, const BatchSizes& sizes,
                               std::string* dump = nullptr);

// What all sizes of a run need: of each part the most.
MemoryEstimate estimate_memory(Model& model, const RunConfig& config,
                               const std::vector<BatchSizes>& all);

// The run's model. Error(kUsage) where not even the values, gradients and momentum of its experts
// and tables fit: a list of parameters that names millions of experts takes minutes to make.
const ModelConfig& require_weights(const RunConfig& config);
// Error(kUsage) that says how much is missing and which key to lower, if it will not fit.
void require_memory(const MemoryEstimate& estimate, const RunConfig& config,
                    const BatchSizes& sizes);

// A batch of B x T tokens of one document each, for shapes and benchmarks.
Batch shape_batch(std::int64_t B, std::int64_t T, std::int64_t vocab_size, std::uint64_t seed);

}  // namespace shoal

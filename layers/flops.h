#pragma once
#include <cstdint>

#include "data/batch.h"
#include "layers/config.h"

namespace shoal {

// Counts of a model, from its shapes: parameters by part, and the floating-point operations that
// the formulas' matrix products need. A product counts 2 per multiply-add, once forward and twice
// backward; attention counts visible pairs only; padding, recomputation, norms and the optimizer
// count nothing. Projections with weights include mHC's; the streams' mixing itself does not count.
struct ModelFlops {
  double per_token = 0.0;      // of a training step, products with weights
  double per_pair = 0.0;       // of a training step, one visible (query, key) pair in every layer
  double mtp_per_token = 0.0;  // the same for the MTP module alone
  double mtp_per_pair = 0.0;
};
ModelFlops count_flops(const ModelConfig& config);

// Of one training step on these batches.
double step_flops(const ModelConfig& config, const ModelFlops& flops, const Batch& batch);

}  // namespace shoal

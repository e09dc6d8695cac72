#pragma once
#include <cstdint>

#include "data/batch.h"
#include "layers/attention/attention.h"

namespace shoal {

// The floating-point operations that the formulas' matrix products need in a training step. A
// product counts 2 per multiply-add, once forward and twice backward (once where its input is
// detached); pairs of a query and a key count where the query looks at the key; padding,
// recomputation, norms and the optimizer count nothing. Projections with weights include mHC's; the
// streams' mixing itself does not count.
struct ModelFlops {
  double per_token = 0.0;  // products with weights
  // Of one (query, key) pair, in all layers of that kind:
  double window = 0.0, full = 0.0;     // raw keys
  double sparse = 0.0, heavy = 0.0;    // entries that are looked at
  double scored = 0.0, learned = 0.0;  // entries that the indexers score; that they learn from
  double mtp_per_token = 0.0, mtp_window = 0.0;  // the MTP module alone
};
ModelFlops count_flops(const ModelConfig& config, const IndexerPlan& indexer);

// Of the step's part that these sequences are.
double step_flops(const ModelConfig& config, const IndexerPlan& indexer, const Batch& batch);

}  // namespace shoal

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
  double per_token = 0.0, per_target = 0.0;  // products with weights; with the head's table
  double indexers = 0.0;                     // per token, where the indexers are asked
  // Of one (query, key) pair, in all layers of that kind:
  double window = 0.0, full = 0.0;     // raw keys
  double sparse = 0.0, heavy = 0.0;    // entries that are looked at
  double scored = 0.0, learned = 0.0;  // entries that the indexers score; that they learn from
  double mtp_per_token = 0.0, mtp_per_target = 0.0, mtp_window = 0.0;  // the MTP module alone
};

// Which parts of the model a step runs.
struct StepParts {
  IndexerPlan indexer;
  bool mtp = true;  // where the model has the module
};
ModelFlops count_flops(const ModelConfig& config, const StepParts& parts);

// Of one micro-batch. The head counts for rows that have a target, the indexers where they learn or
// where a row of the micro-batch sees more entries than it may look at.
double step_flops(const ModelConfig& config, const StepParts& parts, const Batch& batch);

}  // namespace shoal

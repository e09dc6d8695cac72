#pragma once
#include "data/dataset.h"
#include "layers/model.h"
#include "train/metrics/records.h"

namespace shoal {

// Cross-entropy over the first `sequences` of the data (0: all), in their fixed order. The step and
// the time of day are the caller's to add.
EvalRecord evaluate(Model& model, Tape& tape, const Dataset& data, std::int64_t micro_batch,
                    std::int64_t sequences, IndexerMode mode = IndexerMode::kSparse);

}  // namespace shoal

#pragma once
#include <functional>
#include <optional>

#include "data/dataset.h"
#include "layers/model.h"
#include "train/metrics/records.h"

namespace shoal {

// Cross-entropy over the first `sequences` of the data (0: all), in their fixed order, those of a
// source together. The step and the time of day are the caller's to add. `give_up` is asked before
// every forward pass: nothing comes back where it says yes.
std::optional<EvalRecord> evaluate_unless(const std::function<bool()>& give_up, Model& model,
                                          Tape& tape, const Dataset& data, std::int64_t micro_batch,
                                          std::int64_t sequences, IndexerMode mode);
EvalRecord evaluate(Model& model, Tape& tape, const Dataset& data, std::int64_t micro_batch,
                    std::int64_t sequences, IndexerMode mode = IndexerMode::kSparse);

}  // namespace shoal

#pragma once
#include <cstdint>
#include <vector>

#include "layers/statistics.h"
#include "train/metrics/records.h"
#include "train/plan/run_plan.h"
#include "train/plan/run_position.h"
#include "train/step/step_runner.h"

namespace shoal {

// What a step did, as lines of its records. Times and shares are the caller's to add. `after`:
// where the run stands with this step done.
StepRecord step_record(const StepPlan& plan, const RunPosition& after, const StepOutcome& out,
                       const ModelStats& stats);
// One for every block, the MTP block last.
std::vector<LayerRecord> layer_records(const Model& model, std::int64_t step,
                                       const StepOutcome& out, const ModelStats& stats);
// What rounding does to each of them, measured on the weights as they are now (spec 8): `batch` is
// run forward once where an indexer is rounded.
void add_rounding(std::vector<LayerRecord>& records, Model& model, Tape& tape,
                  const Precision& precision, const Batch& batch);

}  // namespace shoal

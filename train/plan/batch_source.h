#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "train/plan/run_plan.h"
#include "train/plan/run_position.h"

namespace shoal {

// The batches of a run, whatever their sizes. A pure function of the step and of where the data
// stands: a step that was skipped (bad numbers) took its sequences without an update.
class BatchSource {
 public:
  // Reads the corpora. Errors as load_data().
  BatchSource(const RunConfig& config, const RunPlan& plan, const Tokenizer& tokenizer);

  // Micro-batches of the step that begins when `done` updates are done: the one at `position` or
  // any other, as the run will use it unless a step before it is skipped. Fills `into`, which takes
  // no memory once it has had these sizes.
  void batches(const RunPosition& position, std::int64_t done, std::vector<Batch>& into) const;

  // The data as sequences of the length that holds there.
  const DataSplit& data_at(std::int64_t done) const { return data_[plan_.stretch_at(done)]; }
  const std::vector<DataSplit>& data() const { return data_; }  // of each of the plan's sizes
  // Of the documents and of how every stretch packs them.
  std::string fingerprint(Dataset DataSplit::*part = &DataSplit::train) const;

 private:
  RunPlan plan_;
  std::vector<DataSplit> data_;  // of each of plan_.sizes()
};

// Parts of a configuration in the words of the data.
DataConfig data_config(const RunConfig& config, std::int64_t sequence_length);

}  // namespace shoal

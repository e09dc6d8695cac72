#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "layers/flops.h"
#include "layers/objective/objective.h"
#include "optim/schedule.h"
#include "train/config/batch_sizes.h"
#include "train/config/run_config.h"

namespace shoal {

// All that holds at one step.
struct StepPlan {
  std::int64_t number = 1;  // 1-based: the update that the step ends with
  double lr = 0.0;
  LossWeights loss;
  IndexerMode indexer = IndexerMode::kSparse;
  Precision precision = {};
  BatchSizes sizes = {};
  // ForwardPlan::given_ids of every micro-batch, one after the other; empty: the routers choose.
  std::span<const Tensor> given_ids = {};
  // Provoked faults; a pulse is in lr already.
  bool shuffled_targets = false;
  double expert_shock = 0.0;  // after the update, one expert's weights times this; 0: none

  IndexerPlan indexer_plan() const { return {indexer, loss.index_kl != 0.0}; }
  StepParts parts() const { return {indexer_plan(), loss.mtp.has_value()}; }
};

// What holds when, made once from the configuration: the only place that knows a schedule. A pure
// function of the step, so that anybody may look ahead.
class RunPlan {
 public:
  explicit RunPlan(const RunConfig& config);

  // Of the step that begins when `done` updates are done. Faults that were provoked at steps up to
  // `spent` are over: they strike once, also where a run goes back and repeats those steps.
  StepPlan at(std::int64_t done, std::int64_t spent = 0) const;
  // Is what a step measures another thing from this one on (sizes, indexer mode, precision)?
  bool turns_at(std::int64_t done) const;
  // The faults that begin with the step that begins there.
  std::vector<FaultSpec> faults_at(std::int64_t done, std::int64_t spent) const;
  // Which of sizes() holds there.
  std::size_t stretch_at(std::int64_t done) const;
  // Sequences that the steps begun at `from` .. `to` - 1 updates take from the data; negative where
  // `to` lies before `from`.
  std::int64_t sequences_between(std::int64_t from, std::int64_t to) const;

  const ScheduleConfig& schedule() const { return schedule_; }
  std::int64_t steps() const { return schedule_.total_steps; }  // 0: no such limit
  bool is_complete(std::int64_t done) const { return steps() > 0 && done >= steps(); }

  const std::vector<BatchSizes>& sizes() const { return sizes_; }  // rising from_step
  const std::vector<IndexerSpec>& indexer_modes() const { return modes_; }
  std::int64_t most_micro_batches() const;

 private:
  std::vector<BatchSizes> sizes_;
  std::vector<IndexerSpec> modes_;
  ScheduleConfig schedule_;
  RunConfig::Loss loss_;
  ModelConfig model_;
  std::vector<FaultSpec> faults_;
};

// Of the sizes of a run those whose micro-batch has the most rows, of them the longest.
const BatchSizes& largest(const std::vector<BatchSizes>& sizes);

}  // namespace shoal

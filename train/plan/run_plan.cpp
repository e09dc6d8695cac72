#include "train/plan/run_plan.h"

#include <algorithm>

#include "autograd/base/check.h"

namespace shoal {
namespace {

// The last entry that has begun when `done` updates are done; the first begins at 0.
template <class Entry>
std::size_t index_at(const std::vector<Entry>& entries, std::int64_t done) {
  std::size_t at = 0;
  while (at + 1 < entries.size() && entries[at + 1].from_step <= done) ++at;
  return at;
}

}  // namespace

RunPlan::RunPlan(const RunConfig& config)
    : sizes_(sizes_of(config)),
      modes_(config.indexer.modes),
      schedule_{config.optim.lr, config.optim.end_lr, config.optim.warmup_steps,
                config.optim.decay_share, planned_steps(config)},
      loss_(config.loss),
      model_(config.model),
      faults_(config.stability.provoke) {}

StepPlan RunPlan::at(std::int64_t done, std::int64_t spent) const {
  StepPlan plan;
  plan.number = done + 1;
  plan.sizes = sizes_[stretch_at(done)];
  plan.lr = learning_rate(schedule_, plan.number);
  const double mtp = in_decay(schedule_, plan.number) ? loss_.mtp_late : loss_.mtp;
  plan.loss = {mtp != 0.0 ? std::optional(mtp) : std::nullopt, loss_.balance, loss_.index_kl};
  plan.indexer = modes_[index_at(modes_, done)].mode;
  plan.precision = model_.precision_at(done);
  for (const FaultSpec& fault : faults_) {
    const std::int64_t since = plan.number - fault.at_step;
    if (fault.at_step <= spent || since < 0 || since >= fault.steps) continue;
    if (fault.kind == FaultKind::kLrPulse) plan.lr *= fault.factor;
    if (fault.kind == FaultKind::kBadBatch) plan.shuffled_targets = true;
    if (fault.kind == FaultKind::kExpertShock) plan.expert_shock = fault.factor;
  }
  return plan;
}

bool RunPlan::turns_at(std::int64_t done) const {
  if (done == 0) return false;
  const StepPlan before = at(done - 1), now = at(done);
  return before.sizes != now.sizes || before.indexer != now.indexer ||
         before.precision != now.precision;
}

std::vector<FaultSpec> RunPlan::faults_at(std::int64_t done, std::int64_t spent) const {
  std::vector<FaultSpec> found;
  for (const FaultSpec& fault : faults_) {
    if (fault.at_step == done + 1 && fault.at_step > spent) found.push_back(fault);
  }
  return found;
}

std::size_t RunPlan::stretch_at(std::int64_t done) const {
  CHECK(done >= 0, "plan: step ", done);
  return index_at(sizes_, done);
}

std::int64_t RunPlan::sequences_between(std::int64_t from, std::int64_t to) const {
  if (to < from) return -sequences_between(to, from);
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    const std::int64_t begin = std::max(from, sizes_[i].from_step);
    const std::int64_t end = i + 1 < sizes_.size() ? std::min(to, sizes_[i + 1].from_step) : to;
    if (begin < end) sum += (end - begin) * sizes_[i].sequences();
  }
  return sum;
}

std::int64_t RunPlan::most_micro_batches() const {
  std::int64_t most = 0;
  for (const BatchSizes& sizes : sizes_) most = std::max(most, sizes.micro_batches());
  return most;
}

const BatchSizes& largest(const std::vector<BatchSizes>& sizes) {
  return *std::max_element(
      sizes.begin(), sizes.end(), [](const BatchSizes& a, const BatchSizes& b) {
        const std::int64_t rows_a = a.micro_batch * a.sequence_length;
        const std::int64_t rows_b = b.micro_batch * b.sequence_length;
        return rows_a != rows_b ? rows_a < rows_b : a.sequence_length < b.sequence_length;
      });
}

}  // namespace shoal

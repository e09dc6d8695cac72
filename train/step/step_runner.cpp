#include "train/step/step_runner.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "autograd/base/trace.h"
#include "train/step/param_slices.h"

namespace shoal {
namespace {

double value_of(const Tensor& scalar) { return scalar ? *scalar.as<float>() : 0.0; }

}  // namespace

StepParts parts_of(const LossConfig& loss) {
  return {{loss.indexer, loss.index_kl != 0.0}, loss.mtp.has_value()};
}

StepCounts count(std::span<const Batch> batches) {
  StepCounts counts;
  for (const Batch& batch : batches) {
    counts.sequences += batch.B;
    for (std::int64_t n = 0; n < batch.rows(); ++n) {
      counts.rows += batch.is_padding(n) ? 0 : 1;
      counts.targets += batch.targets[static_cast<std::size_t>(n)] >= 0 ? 1 : 0;
      counts.mtp_targets += batch.second_target(n) >= 0 ? 1 : 0;
    }
  }
  return counts;
}

StepRunner::StepRunner(Model& model, Tape& tape, const Options& options)
    : model_(model),
      blocks_(model.all_blocks()),
      tape_(tape),
      options_(options),
      optimizer_(options.optimizer, slices_of(model.store()), model.store().flat_size()),
      tree_(model.store(), options.micro_batches),
      stats_(model.make_stats()),
      sums_(static_cast<std::size_t>(options.micro_batches)),
      index_sums_(stats_.size(),
                  std::vector<IndexSums>(static_cast<std::size_t>(options.micro_batches))) {}

StepOutcome StepRunner::gradients(std::span<const Batch> batches, const LossConfig& loss,
                                  const std::function<bool()>& give_up) {
  CHECK(batches.size() == sums_.size(), "step: ", batches.size(), " micro-batches, expected ",
        sums_.size());
  const StepCounts counts = count(batches);
  const auto share = [](double weight, std::int64_t n) {
    return n > 0 ? weight / static_cast<double>(n) : 0.0;
  };
  LossWeights weights{share(1.0, counts.targets),
                      {},
                      share(loss.balance, counts.sequences),
                      share(loss.index_kl, counts.rows)};
  if (loss.mtp) weights.mtp = share(*loss.mtp, counts.mtp_targets);
  for (BlockStats& s : stats_) {
    std::fill(s.load.begin(), s.load.end(), 0);
    s.clamped = {};
    s.index = {};
  }
  StepOutcome out;
  out.counts = counts;
  const auto run = [&](std::int64_t i) {
    if (give_up && give_up()) return false;
    const auto at = static_cast<std::size_t>(i);
    Loss parts;
    {
      const TraceSpan span("forward");
      parts = model_.loss(tape_, batches[at], weights, {options_.recompute, loss.indexer}, &stats_);
    }
    // The warm-up stage without the indexers' loss learns nothing.
    if (parts.total.id != kConstant) {
      const TraceSpan span("backward");
      tape_.backward(parts.total);
    }
    sums_[at] = {value_of(parts.ce), value_of(parts.mtp), value_of(parts.balance),
                 value_of(parts.index_kl)};
    for (std::size_t l = 0; l < stats_.size(); ++l) index_sums_[l][at] = stats_[l].index;
    tape_.end_microbatch();
    return true;
  };
  out.finished = tree_.accumulate(std::ref(run));  // a reference fits without a heap call
  if (!out.finished) {
    tape_.end_microbatch();
    return out;
  }
  const LossSums sums = tree_sum(sums_, 0, sums_.size());
  out.ce = sums.ce * weights.ce;
  out.mtp = sums.mtp * weights.mtp.value_or(0.0);
  out.balance = sums.balance * weights.balance;
  out.index_kl = sums.index_kl * weights.index_kl;
  out.loss = out.ce + out.mtp + out.balance + out.index_kl;
  for (std::size_t l = 0; l < stats_.size(); ++l) {
    stats_[l].index = tree_sum(index_sums_[l], 0, index_sums_[l].size());
  }
  out.mtp_mean = share(sums.mtp, counts.mtp_targets);
  for (const Batch& batch : batches)
    out.flops += step_flops(model_.config(), parts_of(loss), batch);
  const TraceSpan span("measure");
  out.grads = measure(tree_.gradients(), optimizer_.slices());
  return out;
}

StepOutcome StepRunner::step(std::span<const Batch> batches, const LossConfig& loss,
                             std::int64_t step, double lr, const std::function<bool()>& give_up) {
  StepOutcome out = gradients(batches, loss, give_up);
  if (!out.finished || !out.grads.finite || !std::isfinite(out.loss)) return out;
  const TraceSpan span("optimizer");
  optimizer_.step(model_.store().values(), tree_.gradients(), step, static_cast<float>(lr),
                  static_cast<float>(clip_scale(out.grads.norm, options_.clip)),
                  loss.indexer == IndexerStage::kWarmup);
  if (loss.indexer != IndexerStage::kWarmup) update_router_biases();
  out.updated = true;
  return out;
}

void StepRunner::set_micro_batches(std::int64_t micro_batches) {
  tree_.set_micro_batches(micro_batches);
  sums_.resize(static_cast<std::size_t>(micro_batches));
  for (std::vector<IndexSums>& sums : index_sums_) sums.resize(sums_.size());
}

// b_i += gamma sign(mean load - load_i), from the loads of the whole step (spec 5.4).
void StepRunner::update_router_biases() {
  for (std::size_t l = 0; l < blocks_.size(); ++l) {
    ModelBuffer* bias = blocks_[l]->feed_forward().bias();
    if (bias == nullptr) continue;
    const std::vector<std::int64_t>& load = stats_[l].load;
    std::int64_t total = 0;
    for (const std::int64_t n : load) total += n;
    for (std::size_t e = 0; e < load.size(); ++e) {
      // mean - load in whole numbers, times the number of experts
      const std::int64_t gap = total - load[e] * static_cast<std::int64_t>(load.size());
      bias->value.as<float>()[e] += static_cast<float>(options_.router_bias_speed) *
                                    static_cast<float>((gap > 0) - (gap < 0));
    }
  }
}

}  // namespace shoal

#include "train/step/step_runner.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "autograd/base/trace.h"
#include "layers/objective/next_token.h"
#include "train/step/param_slices.h"

namespace shoal {
namespace {

const NextToken next_token;

void copy_floats(std::span<const float> from, std::span<float> to) {
  for_chunks(static_cast<std::int64_t>(from.size()), [&](Range r) {
    std::copy(from.data() + r.begin, from.data() + r.end, to.data() + r.begin);
  });
}

double value_of(const Tensor& scalar) { return scalar ? *scalar.as<float>() : 0.0; }

}  // namespace

StepRunner::StepRunner(Model& model, Tape& tape, const Options& options)
    : StepRunner(model, tape, options, next_token) {}

StepRunner::StepRunner(Model& model, Tape& tape, const Options& options, const Objective& objective)
    : model_(model),
      objective_(objective),
      blocks_(model.all_blocks()),
      tape_(tape),
      options_(options),
      optimizer_(options.optimizer, slices_of(model.store()), model.store().flat_size()),
      tree_(model.store(), options.micro_batches),
      stats_(make_stats(model)),
      sums_(static_cast<std::size_t>(options.micro_batches)),
      index_sums_(stats_.size(),
                  std::vector<IndexSums>(static_cast<std::size_t>(options.micro_batches))) {}

void StepRunner::run_micro_batch(std::size_t i, const Batch& batch, const StepPlan& plan,
                                 const StepCounts& counts) {
  Hidden hidden;
  Loss loss;
  {
    const TraceSpan span("forward");
    ForwardPlan forward{options_.recompute, plan.indexer_plan()};
    if (!plan.given_ids.empty()) {
      forward.given_ids = plan.given_ids.subspan(i * blocks_.size(), blocks_.size());
    }
    hidden = model_.forward(tape_, batch, forward);
    loss = objective_.loss(tape_, model_, hidden, plan.loss, counts);
  }
  // Indexers that warm up without a loss of theirs learn nothing.
  if (loss.total.id != kConstant) {
    const TraceSpan span("backward");
    tape_.backward(loss.total);
  }
  const PartsOf<Tensor>& sums = loss.sums;
  sums_[i] = {value_of(sums.ce), value_of(sums.mtp), value_of(sums.balance),
              value_of(sums.index_kl)};
  add(stats_, hidden);
  for (std::size_t l = 0; l < stats_.size(); ++l) index_sums_[l][i] = stats_[l].index;
  tape_.end_microbatch();
}

StepOutcome StepRunner::gradients(std::span<const Batch> batches, const StepPlan& plan,
                                  const std::function<bool()>& give_up) {
  CHECK(batches.size() == sums_.size(), "step: ", batches.size(), " micro-batches, expected ",
        sums_.size());
  CHECK(plan.given_ids.empty() || plan.given_ids.size() == batches.size() * blocks_.size(),
        "step: ", plan.given_ids.size(), " lists of given ids for ", batches.size(),
        " micro-batches of ", blocks_.size(), " blocks");
  const StepCounts counts = count(batches);
  clear(stats_);
  model_.set_precision(plan.precision);  // rounds the weights of this step
  StepOutcome out;
  out.counts = counts;
  const auto run = [&](std::int64_t i) {
    if (give_up && give_up()) return false;
    run_micro_batch(static_cast<std::size_t>(i), batches[static_cast<std::size_t>(i)], plan,
                    counts);
    return true;
  };
  out.finished = tree_.accumulate(std::ref(run));  // a reference fits without a heap call
  if (!out.finished) {
    tape_.end_microbatch();
    return out;
  }
  const LossParts sums = tree_sum(sums_, 0, sums_.size()), factors = factors_of(plan.loss, counts);
  out.parts = {sums.ce * factors.ce, sums.mtp * factors.mtp, sums.balance * factors.balance,
               sums.index_kl * factors.index_kl};
  for (std::size_t l = 0; l < stats_.size(); ++l) {
    stats_[l].index = tree_sum(index_sums_[l], 0, index_sums_[l].size());
  }
  if (counts.mtp_targets > 0) out.mtp_mean = sums.mtp / static_cast<double>(counts.mtp_targets);
  for (const Batch& batch : batches) out.flops += step_flops(model_.config(), plan.parts(), batch);
  const TraceSpan span("measure");
  out.grads = measure(tree_.gradients(), optimizer_.slices());
  return out;
}

StepOutcome StepRunner::step(std::span<const Batch> batches, const StepPlan& plan,
                             const std::function<bool()>& give_up) {
  StepOutcome out = gradients(batches, plan, give_up);
  if (out.finished && out.is_finite()) update(out, plan);
  return out;
}

void StepRunner::update(StepOutcome& out, const StepPlan& plan) {
  const TraceSpan span("optimizer");
  if (keeps_weights_) {
    const TraceSpan keep("keep_weights");
    copy_floats(model_.store().values(), tree_.spare());
  }
  const bool warmup = plan.indexer == IndexerMode::kWarmup;
  optimizer_.step(model_.store().values(), tree_.gradients(), plan.number,
                  static_cast<float>(plan.lr),
                  static_cast<float>(clip_scale(out.grads.norm, options_.clip)), warmup);
  if (!warmup) update_router_biases();
  out.updated = true;
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

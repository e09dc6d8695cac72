#pragma once
#include <cmath>
#include <functional>
#include <span>
#include <vector>

#include "layers/objective/objective.h"
#include "layers/statistics.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "train/plan/run_plan.h"
#include "train/step/gradient_tree.h"

namespace shoal {

struct StepOutcome {
  bool finished = false;  // false: given up between micro-batches, nothing changed
  LossParts parts;        // weighted: they add up to loss()
  double mtp_mean = 0;    // without its weight
  double flops = 0;       // see layers/flops.h
  StepCounts counts;      // what the means are over
  GradHealth grads;
  bool updated = false;  // false: nothing changed

  double loss() const { return parts.ce + parts.mtp + parts.balance + parts.index_kl; }
  bool is_finite() const { return grads.finite && std::isfinite(loss()); }
};

// One training step over a model: forward and backward of every micro-batch, the gradient tree,
// the optimizer, the router biases. After the second it makes no heap call. The trainer and the
// parity cases both use it.
class StepRunner {
 public:
  struct Options {
    OptimizerConfig optimizer;
    double clip = 1.0, router_bias_speed = 0.001;
    bool recompute = false;
    std::int64_t micro_batches = 1;  // of a step, at most
  };
  // The objective has to live as long; by default the next token.
  StepRunner(Model& model, Tape& tape, const Options& options);
  StepRunner(Model& model, Tape& tape, const Options& options, const Objective& objective);

  // Losses and gradients; give_up is asked before every micro-batch.
  StepOutcome gradients(std::span<const Batch> batches, const StepPlan& plan,
                        const std::function<bool()>& give_up = nullptr);
  // The update that these gradients ask for, which have to be finite.
  void update(StepOutcome& out, const StepPlan& plan);
  // gradients(), then update(), unless a number is not finite.
  StepOutcome step(std::span<const Batch> batches, const StepPlan& plan,
                   const std::function<bool()>& give_up = nullptr);

  // Whether step() keeps a copy of the weights from before its update, for measuring.
  void keep_weights(bool on) { keeps_weights_ = on; }
  // Of the last step that kept them, until the next one.
  std::span<const float> weights_before() const { return tree_.spare(); }

  // Micro-batches of the steps from now on: at most as many as in the options.
  void set_micro_batches(std::int64_t micro_batches);

  Optimizer& optimizer() { return optimizer_; }
  std::span<const float> flat_gradients() const { return tree_.gradients(); }
  // Of the last step, a copy per block.
  const ModelStats& stats() const { return stats_; }
  std::size_t gradient_bytes() const { return tree_.bytes(); }

 private:
  void run_micro_batch(std::size_t i, const Batch& batch, const StepPlan& plan,
                       const StepCounts& counts);
  void update_router_biases();

  Model& model_;
  const Objective& objective_;
  std::vector<const Block*> blocks_;
  Tape& tape_;
  Options options_;
  Optimizer optimizer_;
  GradientTree tree_;
  ModelStats stats_;
  bool keeps_weights_ = false;
  std::vector<LossParts> sums_;                     // of each micro-batch
  std::vector<std::vector<IndexSums>> index_sums_;  // of each block and micro-batch
};

}  // namespace shoal

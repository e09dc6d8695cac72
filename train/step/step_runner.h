#pragma once
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "layers/flops.h"
#include "layers/model.h"
#include "optim/clip.h"
#include "optim/optimizer.h"
#include "train/step/gradient_tree.h"

namespace shoal {

// Weights of the loss's parts; means are over all targets, MTP targets and sequences of the step.
struct LossConfig {
  std::optional<double> mtp = 0.3;  // none: the MTP block does not run
  double balance = 1e-4, index_kl = 1.0;
  IndexerStage indexer = IndexerStage::kSparse;
};

StepParts parts_of(const LossConfig& loss);

// Sums over a step (or an evaluation), before weights.
struct LossSums {
  double ce = 0, mtp = 0, balance = 0, index_kl = 0;
  friend LossSums operator+(const LossSums& a, const LossSums& b) {
    return {a.ce + b.ce, a.mtp + b.mtp, a.balance + b.balance, a.index_kl + b.index_kl};
  }
};

struct StepCounts {
  std::int64_t rows = 0;  // without padding; each has a target unless a task counts answers alone
  std::int64_t targets = 0, mtp_targets = 0, sequences = 0;
};
StepCounts count(std::span<const Batch> batches);

struct StepOutcome {
  bool finished = false;  // false: given up between micro-batches, nothing changed
  double ce = 0, mtp = 0, balance = 0, index_kl = 0;  // weighted: they add up to loss
  double loss = 0;
  double mtp_mean = 0;  // without its weight
  double flops = 0;     // see layers/flops.h
  StepCounts counts;    // what the means are over
  GradHealth grads;
  bool updated = false;  // false: the numbers were bad, nothing changed
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
  StepRunner(Model& model, Tape& tape, const Options& options);

  // Losses and gradients; give_up is asked before every micro-batch.
  StepOutcome gradients(std::span<const Batch> batches, const LossConfig& loss,
                        const std::function<bool()>& give_up = nullptr);
  // gradients(), then the update, unless a number is not finite.
  StepOutcome step(std::span<const Batch> batches, const LossConfig& loss, std::int64_t step,
                   double lr, const std::function<bool()>& give_up = nullptr);

  // Micro-batches of the steps from now on: at most as many as in the options.
  void set_micro_batches(std::int64_t micro_batches);

  Optimizer& optimizer() { return optimizer_; }
  std::span<const float> flat_gradients() const { return tree_.gradients(); }
  // Of the last step, a copy per block.
  const ModelStats& stats() const { return stats_; }
  std::size_t gradient_bytes() const { return tree_.bytes(); }

 private:
  void update_router_biases();

  Model& model_;
  std::vector<const Block*> blocks_;
  Tape& tape_;
  Options options_;
  Optimizer optimizer_;
  GradientTree tree_;
  ModelStats stats_;
  std::vector<LossSums> sums_;                      // of each micro-batch
  std::vector<std::vector<IndexSums>> index_sums_;  // of each block and micro-batch
};

}  // namespace shoal

#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "data/batch.h"
#include "layers/model.h"

namespace shoal {

// Weights of the loss's parts; their means are over the whole step.
struct LossWeights {
  std::optional<double> mtp = 0.3;  // none: the MTP block does not run
  double balance = 1e-4, index_kl = 1.0;
};

// The parts of a loss: sums, or what they add to it. Cross-entropy, MTP's, the balance of experts,
// the indexers' own.
template <class T>
struct PartsOf {
  T ce{}, mtp{}, balance{}, index_kl{};
};
using LossParts = PartsOf<double>;

inline LossParts operator+(const LossParts& a, const LossParts& b) {
  return {a.ce + b.ce, a.mtp + b.mtp, a.balance + b.balance, a.index_kl + b.index_kl};
}

// What the means of a step divide by: of all its micro-batches.
struct StepCounts {
  std::int64_t rows = 0;  // without padding; each has a target unless a task counts answers alone
  std::int64_t targets = 0, mtp_targets = 0, sequences = 0;
};
StepCounts count(std::span<const Batch> batches);

// What multiplies each part's sum: its weight over the count it is a mean of; 0 where there is
// none.
LossParts factors_of(const LossWeights& weights, const StepCounts& counts);

// The loss of a micro-batch: those of a step add up to the step's.
struct Loss {
  Tensor total;          // [1] what backward starts from
  PartsOf<Tensor> sums;  // [1] each, before weights; null where there is none
};

// What a model is trained for: hidden states in, loss out. It decides which heads run.
class Objective {
 public:
  virtual ~Objective() = default;
  virtual Loss loss(Tape& tape, Model& model, Hidden& hidden, const LossWeights& weights,
                    const StepCounts& of_step) const = 0;
};

}  // namespace shoal

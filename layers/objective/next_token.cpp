#include "layers/objective/next_token.h"

#include <array>

#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementwise.h"

namespace shoal {

Loss NextToken::loss(Tape& tape, Model& model, Hidden& hidden, const LossWeights& weights,
                     const StepCounts& of_step) const {
  const BatchTensors& batch = *hidden.input.batch;
  Loss loss;
  PartsOf<Tensor>& sums = loss.sums;
  {
    const Label label(tape, "head");
    sums.ce = cross_entropy(tape, model.head_input(tape, hidden.X), model.head(), batch.targets);
  }
  if (model.has_mtp() && weights.mtp) {
    const Tensor X = model.forward_mtp(tape, hidden);
    const Label label(tape, "mtp.0");
    sums.mtp = cross_entropy(tape, model.mtp_head_input(tape, X), model.head(), batch.second);
  }
  sums.balance = hidden.balance;
  sums.index_kl = hidden.index_kl;
  if (hidden.input.indexer.mode == IndexerMode::kWarmup) {
    sums.ce.id = sums.mtp.id = sums.balance.id = kConstant;
  }
  const LossParts factors = factors_of(weights, of_step);
  const std::array<Term, 4> terms{Term{sums.ce, static_cast<float>(factors.ce)},
                                  Term{sums.mtp, static_cast<float>(factors.mtp)},
                                  Term{sums.balance, static_cast<float>(factors.balance)},
                                  Term{sums.index_kl, static_cast<float>(factors.index_kl)}};
  loss.total = weighted_sum(tape, terms);
  return loss;
}

}  // namespace shoal

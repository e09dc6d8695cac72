#pragma once
#include "autograd/tape.h"

namespace shoal {

enum class RouterFunction : std::uint8_t { kSqrtSoftplus, kSigmoid, kSoftmax };

// How K of E experts are chosen and weighed (spec 5.1, 5.4). Choosing and weighing are apart: the
// gates of experts that somebody else has chosen are gates like any other.

// s = score(logits), [N, E]. Takes no gradient: weigh_experts() goes back to the logits itself.
Tensor router_scores(Tape& tape, Tensor logits, RouterFunction function);

// The K largest of scores + bias, ties to the lower index: [N, K] i32, distinct, in falling order.
//   scores [N, E]   bias [E]
Tensor choose_experts(Tape& tape, Tensor scores, Tensor bias, std::int64_t K);

// A hash layer's: the rows of table [V, K] i32 by token [N] i32.
Tensor look_up_experts(Tape& tape, Tensor table, Tensor tokens);

struct Weighing {
  RouterFunction function = RouterFunction::kSqrtSoftplus;  // that made the scores
  float scale = 1.0F;                                       // routed_scaling_factor
  bool normalise = true;                                    // norm_topk_prob
  bool balance = false;                                     // is there a balance loss?
};

struct Gates {
  Tensor gates;    // [N, K]
  Tensor balance;  // [1] sum over sequences of sum_i f_i Pbar_i; null unless asked for
  Tensor load;     // [E] i64: tokens that each expert got
};

// gates_i = scale s_i / (sum over chosen of s_j + 1e-20), of the scores without bias.
//   logits [N, E]   scores as router_scores() gives them   ids [N, K] i32
//   valid [N] i32: 0 for padding, which counts nowhere
//   f_i = E / (K T) #{valid t : i chosen},  Pbar_i = mean over valid t of s_i / sum_j s_j,
//   T = valid rows of the sequence; N = B sequences of N / B rows.
Gates weigh_experts(Tape& tape, Tensor logits, Tensor scores, Tensor ids, Tensor valid,
                    std::int64_t B, const Weighing& weighing);

}  // namespace shoal

#pragma once
#include "autograd/tape.h"

namespace shoal {

enum class RouterFunction : std::uint8_t { kSqrtSoftplus, kSigmoid, kSoftmax };

// How K of E experts are chosen and weighed (spec 5.1, 5.4).
struct Routing {
  RouterFunction score = RouterFunction::kSqrtSoftplus;
  std::int64_t experts_per_token = 1;  // K
  float scale = 1.0F;                  // routed_scaling_factor
  bool normalise = true;               // norm_topk_prob
};

struct Routed {
  Tensor gates;    // [N, K]
  Tensor experts;  // [N, K] i32: distinct, in falling order of score + bias (or the table's order)
  Tensor balance;  // [1] sum over sequences of sum_i f_i Pbar_i; null for a hash layer
};

// s = score(logits);  chosen = the K largest of s + bias, ties to the lower index, or table rows;
// gates_i = scale s_i / (sum over chosen of s_j + 1e-20), of the scores without bias.
//   logits [N, E]   bias [E] (no gradient)   valid [N] i32: 0 for padding, which counts nowhere
//   f_i = E / (K T) #{valid t : i chosen},  Pbar_i = mean over valid t of s_i / sum_j s_j,
//   T = valid rows of the sequence; N = B sequences of N / B rows.
Routed route(Tape& tape, Tensor logits, Tensor bias, Tensor valid, std::int64_t B,
             const Routing& routing);

// A hash layer: experts come from table [V, K] i32 by token; no bias, no balance loss.
Routed route_by_table(Tape& tape, Tensor logits, Tensor table, Tensor tokens,
                      const Routing& routing);

}  // namespace shoal

#pragma once
#include "autograd/tape.h"

namespace shoal {

// How often the SwiGLU clamp acted (spec 5.2), on how many pairs of a gate and an up.
struct ClampCount {
  std::int64_t gate_high = 0, up_high = 0, up_low = 0, pairs = 0;
};

// A mixture of clamped SwiGLU experts, routed ones and optionally one shared (spec 5.1, 5.2).
//   expert_e(x): gate = min(x W1_e^T, limit), up = clamp(x W3_e^T, -limit, limit)
//                (silu(gate) * up) W2_e^T
//   y[n] = sum_k gates[n,k] expert_{experts[n,k]}(x[n]) + shared(x[n]),  added in slot order
//   x [N, C]   gates [N, K]   experts [N, K] i32   w13 [G, 2F, C]: rows of W1 then of W3
//   w2 [G, C, F]   ->   y [N, C]
// The shared expert, if there is one, is the last of the G; without routed experts (a dense layer)
// gates and experts are null. limit 0: no clamp. Tokens are grouped by expert, and every expert's
// rows are multiplied together; a token's bits do not depend on who shares its expert.
// clamped: null, or added to for the rows where valid [N] i32 is not 0 (null: every row).
Tensor experts(Tape& tape, Tensor x, Tensor gates, Tensor experts, Tensor w13, Tensor w2,
               bool shared, float limit, ClampCount* clamped, Tensor valid = {});

}  // namespace shoal

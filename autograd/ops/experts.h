#pragma once
#include "autograd/tape.h"

namespace shoal {

// Clamped SwiGLU experts that lie together.
struct ExpertWeights {
  Tensor w13;  // [G, 2F, C]: rows of W1, then of W3
  Tensor w2;   // [G, C, F]
  explicit operator bool() const { return static_cast<bool>(w2); }
};

struct Mixture {
  Tensor y;        // [N, C]
  Tensor clamped;  // [kClampWords] i64, see ClampCount
};

// How often the SwiGLU clamp acted (spec 5.2), on how many pairs of a gate and an up, and how large
// they were before it. Without a clamp: how often one at kUsualLimit would have acted.
struct ClampCount {
  std::int64_t gate_high = 0, up_high = 0, up_low = 0, pairs = 0;
  float gate_max = 0.0F, up_max = 0.0F;  // of |gate| and |up|
  ClampCount& operator+=(const ClampCount& other);
};
inline constexpr float kUsualLimit = 10.0F;
inline constexpr std::int64_t kClampWords = sizeof(ClampCount) / sizeof(std::int64_t);
ClampCount clamp_count(const Tensor& clamped);  // out of Mixture::clamped

// A mixture of experts, routed ones and one shared, either of which may be missing (spec 5.1, 5.2).
//   expert_e(x): gate = min(x W1_e^T, limit), up = clamp(x W3_e^T, -limit, limit)
//                (silu(gate) * up) W2_e^T
//   y[n] = sum_k gates[n,k] routed_{ids[n,k]}(x[n]) + shared(x[n]),  added in slot order
//   x [N, C]   gates [N, K]   ids [N, K] i32; both null without routed experts
// limit 0: no clamp. Tokens are grouped by expert, and every expert's rows are multiplied together,
// all of them in one go; a token's bits do not depend on who shares its expert. Clamps are counted
// for the rows where valid [N] i32 is not 0 (null: every row).
Mixture experts(Tape& tape, Tensor x, Tensor gates, Tensor ids, const ExpertWeights& routed,
                const ExpertWeights& shared, float limit, Tensor valid = {});

}  // namespace shoal

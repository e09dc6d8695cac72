#pragma once
#include "autograd/kernels/rotate.h"
#include "autograd/tape.h"

namespace shoal {

// Per head: normalise, scale, rotate (spec 2.1, 2.2).
//   z[n,h,d] = x[n,h,d] / sqrt(mean_d(x[n,h,d]^2) + eps) * gain[d]
//   y = z with its last 2 * rope.pairs values turned by position[n]
//   x [N, H*D]   gain [D], or a null tensor for none   position [N] i32   ->   y like x
Tensor head_norm_rope(Tape& tape, Tensor x, Tensor gain, std::int64_t head_dim, RopeTable rope,
                      Tensor position, float eps);

}  // namespace shoal

#pragma once
#include "autograd/tape.h"

namespace shoal {

// y = FP4(x H / sqrt(D)) for every head of width D, a power of two: Walsh-Hadamard (kernels/
// hadamard.h), then rounded in blocks of 32 along the head (kernels/fp4.h). The gradient passes the
// rounding as if it were not there: dx = dy H / sqrt(D).
//   x [N, H*D]   ->   y like x
// round false: y = x H / sqrt(D), of which dx is the derivative.
Tensor hadamard_fp4(Tape& tape, Tensor x, std::int64_t head_dim, bool round = true);

}  // namespace shoal

#pragma once
#include "autograd/tape.h"

namespace shoal {

// y[n,o] = sum_c x[n,c] w[o,c]      (y = x W^T; weights are stored [out, in])
//   x [..., C] (leading dims fold into N)   w [O, C]   ->   y [N, O]
Tensor linear(Tape& tape, Tensor x, Tensor w);

// The same for G independent blocks: y[n, g*O + o] = sum_i x[n, g*I + i] w[g*O + o, i]
//   x [N, G*I]   w [G*O, I]   ->   y [N, G*O]                       (spec 2.8, W_OA)
Tensor grouped_linear(Tape& tape, Tensor x, Tensor w, std::int64_t groups);

}  // namespace shoal

#pragma once
#include "autograd/kernels/rope.h"
#include "autograd/tape.h"

namespace shoal {

// Sliding-window attention with one shared key = value and a sink, output turned back (spec 2.5,
// 2.7, 2.8).
//   visible(n) = rows j with max(first[n], n - window + 1) <= j <= n
//   P[n,h,j] = exp(z[n,h,j]) / (sum_j' exp(z[n,h,j']) + exp(sink[h])),  z = q[n,h] . kv[j] /
//   sqrt(D) o[n,h] = turn(sum_j P[n,h,j] kv[j], -position[n]) q [N, H*D]   kv [N, D]   sink [H]
//   first, position [N] i32   ->   o like q
// Nothing of size N x N is stored: queries go by in blocks of rows, each with its own few keys.
Tensor window_attention(Tape& tape, Tensor q, Tensor kv, Tensor sink, Tensor first, Tensor position,
                        RopeTable rope, std::int64_t window);

}  // namespace shoal

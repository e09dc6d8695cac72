#pragma once
#include <span>

#include "autograd/tape.h"

namespace shoal {

// y = a + b, same shape                                     (the plain residual)
Tensor add(Tape& tape, Tensor a, Tensor b);

// y[n,k,c] = x[n,k,c] + b[n,c]                              (spec 6: e W_e joins every stream)
//   x [N, n, C]   b [N, C]   ->   y like x
Tensor add_to_streams(Tape& tape, Tensor x, Tensor b);

// y = sum_i weight_i x_i of scalars; null tensors are left out     x_i [1]   ->   y [1]
struct Term {
  Tensor x;
  float weight;
};
Tensor weighted_sum(Tape& tape, std::span<const Term> terms);

}  // namespace shoal

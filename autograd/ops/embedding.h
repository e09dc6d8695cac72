#pragma once
#include "autograd/tape.h"

namespace shoal {

// y[n,k,c] = table[tokens[n], c] for every stream k           (spec 1.1: X_0 = copies of x)
//   table [V, C]   tokens [N] i32, each in 0 .. V-1   ->   y [N, streams, C]
Tensor embedding(Tape& tape, Tensor table, Tensor tokens, std::int64_t streams);

}  // namespace shoal

#pragma once
#include "autograd/kernels/rotate.h"
#include "autograd/tape.h"

namespace shoal {

// y = x, the last 2 * rope.pairs values of every head turned by position[n] (spec 2.6: the
// indexer's queries, which have no norm of their own).
//   x [N, H*D]   position [N] i32   ->   y like x
Tensor head_rope(Tape& tape, Tensor x, std::int64_t head_dim, RopeTable rope, Tensor position);

}  // namespace shoal

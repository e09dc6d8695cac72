#pragma once
#include "autograd/tape.h"

namespace shoal {

// loss = sum over rows with targets[n] >= 0 of  log sum_v exp(z[n,v]) - z[n, targets[n]],
// z = x w^T, the prediction head. The logits pass by in slices of the vocabulary, forward and
// backward; [N, V] never exists.
//   x [N, C]   w [V, C]   targets [N] i32: below V, or -1 for a row without target   ->   loss [1]
Tensor cross_entropy(Tape& tape, Tensor x, Tensor w, Tensor targets);

}  // namespace shoal

#pragma once
#include "autograd/tape.h"

namespace shoal {

// x with the first `rounded` values of every row in FP8, in blocks of 64 (kernels/fp8.h; spec 2.2,
// 2.4): other bytes under the same id, so that gradients pass through to x.
//   x [N, D]
Tensor round_entries(Tape& tape, Tensor x, std::int64_t rounded);

}  // namespace shoal

#pragma once
#include "autograd/tape.h"

namespace shoal {

// y[n,c] = x[n,c] * inv[n] * gain[c],   inv[n] = 1 / sqrt(mean_c(x[n,c]^2) + eps)
//   x [..., C] (leading dims fold into N)   gain [C]   ->   y like x
Tensor rms_norm(Tape& tape, Tensor x, Tensor gain, float eps);

}  // namespace shoal

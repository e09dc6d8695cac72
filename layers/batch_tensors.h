#pragma once
#include "autograd/tape.h"
#include "data/batch.h"

namespace shoal {

// A batch as the ops read it, all [N] i32.
struct BatchTensors {
  Tensor tokens, targets;
  Tensor first, position;  // see data/batch.h; position = n - first[n]
  Tensor valid;            // 0 for padding
  Tensor next, second;     // MTP: the token it reads (0 where none), the one it predicts or -1
  std::int64_t B = 0, T = 0;
};

BatchTensors upload(Tape& tape, const Batch& batch);

}  // namespace shoal

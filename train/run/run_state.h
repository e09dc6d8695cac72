#pragma once
#include "layers/model.h"
#include "optim/optimizer.h"
#include "train/checkpoint/state.h"

namespace shoal {

// What a run remembers beside the model and the optimizer.
struct RunPosition {
  std::int64_t step = 0;     // updates done
  std::int64_t tokens = 0;   // positions seen
  std::int64_t samples = 0;  // sequences taken from the data: where the next step begins
};

// Views of a run's memory under the paths that checkpoints use: /model/layers/3/attn/wq_a/weight,
// /optimizer/.../momentum, /state/... A save reads through it, a load writes through it.
StateView model_view(Model& model);
StateView run_view(Model& model, Optimizer& optimizer, RunPosition& position);

}  // namespace shoal

#pragma once
#include <vector>

#include "layers/model.h"

namespace shoal {

// Of each block, the share of entries chosen from FP4 scores that float32 scores of the same,
// unrounded numbers would have chosen too: overlap / k, over the rows that have to choose (spec
// 8.1). NaN for blocks that do not choose. Runs the batch forward once, with the model's precision.
std::vector<double> index_recall(Model& model, Tape& tape, const Batch& batch);

}  // namespace shoal

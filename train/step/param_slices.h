#pragma once
#include <vector>

#include "layers/params.h"
#include "optim/param_groups.h"

namespace shoal {

// The model's published tensors as the optimizers see them (spec 7.2): which are matrices, which
// decay, which parts of one are independent.
std::vector<ParamSlice> slices_of(const ParamStore& store);

}  // namespace shoal

#pragma once
#include <vector>

#include "train/metrics/records.h"
#include "train/step/step_runner.h"

namespace shoal {

// What the last update did to each group of parameters that the model has, by ParamRole and in its
// order. With the gradient g (before clipping), weights w before and w' after, sums over the group:
//   grad_norm = |g|   weight_rms = sqrt(mean w'^2)   update_ratio = |w' - w| / |w|
//   momentum_rank: mean over Muon's matrices M of |M|_F^4 / |M M^T|_F^2; matrices of zeros do not
//   count
// The runner must have kept its weights. Memory: for each thread a Gram matrix of the largest
// matrix's short side.
std::vector<GroupRecord> group_records(StepRunner& runner, const ParamStore& store,
                                       std::int64_t step);

// The name of a group in the records.
const char* group_name(ParamRole role);

}  // namespace shoal

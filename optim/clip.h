#pragma once
#include <span>
#include <string>
#include <vector>

#include "optim/param_groups.h"

namespace shoal {

// Above it the square of a gradient element would leave AdamW's float32 moment infinite for ever.
inline constexpr float kLargestGradient = 1e18F;

struct GradHealth {
  bool finite = true;
  std::string first_bad;  // tensor with an element that is NaN or above kLargestGradient
  double norm = 0.0;      // over the slices that are `clipped`; no meaning if not finite
};

// One pass over the gradients. Sums of squares in double over fixed chunks of each tensor, added in
// chunk order, then over the tensors in the order of their names.
GradHealth measure(std::span<const float> grads, const std::vector<ParamSlice>& slices);

// What to multiply clipped gradients with so that their norm is at most `clip`; 1 if clip is 0.
float clip_scale(double norm, double clip);

}  // namespace shoal

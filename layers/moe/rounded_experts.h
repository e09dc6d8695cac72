#pragma once
#include <span>
#include <vector>

#include "autograd/base/memory.h"
#include "layers/params.h"

namespace shoal {

// What FP4 does to weights.
struct RoundingStats {
  std::int64_t weights = 0, to_zero = 0;  // to_zero: weights other than zero whose copy is zero
  int least_scale = 0, most_scale = 0;    // log2 of the blocks' scales
  double distance = 0.0;                  // |copies - masters| / |masters|
};
// Of weights as they are now, whether they are rounded or not.
RoundingStats measure_rounding(std::span<ModelParam* const> weights);

// Routed experts' weights in FP4 (spec 8.1), blocks of 32 along each row: copies that forward and
// backward read instead of the masters. Gradients go straight through to the masters.
class RoundedExperts {
 public:
  void add(ModelParam& weights) { weights_.push_back(&weights); }

  // Rounds all weights as they are now. Memory is taken by the first call and kept.
  void round();
  // Back to the masters.
  void release();
  std::size_t bytes() const;  // that the copies take, once there are any
  const std::vector<ModelParam*>& weights() const { return weights_; }

 private:
  std::vector<ModelParam*> weights_;
  PageRange pages_;
};

}  // namespace shoal

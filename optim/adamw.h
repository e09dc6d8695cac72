#pragma once
#include <cstdint>
#include <vector>

namespace shoal {

struct AdamwConfig {
  double beta1 = 0.9, beta2 = 0.95;
  double eps = 1e-20;  // outside of the root
  double weight_decay = 0.1;
};

// AdamW, bias-corrected, with decoupled decay, over parts of the flat buffers:
//   m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
//   w <- w (1 - lr decay) - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
// Elementwise and in one pass, so bits do not depend on threads or on how parts are cut.
class Adamw {
 public:
  struct Part {
    std::int64_t offset, size;  // in parameters and gradients
    bool decay, clipped;
    float *exp_avg, *exp_avg_sq;  // [size]
  };
  Adamw(const AdamwConfig& config, const std::vector<Part>& parts);
  // `step` counts from 1; gradients of clipped parts are multiplied by clip_scale. only_unclipped:
  // those parts stay as they are.
  void step(float* params, const float* grads, std::int64_t step, float lr, float clip_scale,
            bool only_unclipped) const;

 private:
  AdamwConfig config_;
  std::vector<Part> pieces_;  // of the parts, small enough that threads balance
};

}  // namespace shoal

#pragma once
#include <cstdint>
#include <vector>

#include "optim/newton_schulz.h"

namespace shoal {

struct MuonConfig {
  double momentum = 0.95;
  double update_rms = 0.18;  // of an element of the update, at full rank
  double weight_decay = 0.1;
};

// Muon over independent matrices in the flat buffers (spec 7.1):
//   M <- mu M + G,  Z = mu M + G,  O = newton_schulz(Z) sqrt(max(rows, cols)) update_rms
//   W <- W (1 - lr decay) - lr O
class Muon {
 public:
  struct Matrix {
    std::int64_t offset, rows, cols;  // in parameters and gradients, row-major
    bool decay, clipped;
    float* momentum;  // [rows, cols]
  };
  Muon(const MuonConfig& config, std::vector<Matrix> matrices);
  void step(float* params, const float* grads, float lr, float clip_scale);
  double flops() const { return newton_schulz_.flops(); }  // of a step's Newton-Schulz

 private:
  MuonConfig config_;
  std::vector<Matrix> matrices_;
  NewtonSchulz newton_schulz_;
};

}  // namespace shoal

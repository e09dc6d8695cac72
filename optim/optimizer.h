#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "optim/adamw.h"
#include "optim/flat_buffer.h"
#include "optim/muon.h"
#include "optim/param_groups.h"

namespace shoal {

struct OptimizerConfig {
  bool muon = true;  // matrices to Muon; false: everything to AdamW
  double weight_decay = 0.1;
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-20;  // AdamW
  double momentum = 0.95, update_rms = 0.18;      // Muon
};

// What a checkpoint saves of one parameter: `data` may be written to restore it.
struct OptimizerState {
  std::string name;   // of the parameter
  std::string field;  // exp_avg and exp_avg_sq (AdamW), momentum (Muon)
  std::span<float> data;
  std::vector<std::int64_t> shape;
};

// AdamW and Muon over the flat buffers of parameters and gradients, each slice by the one its
// flags say. Equal bits for any thread count; step() makes no heap call and no page fault after the
// first one with the same thread count.
class Optimizer {
 public:
  Optimizer(const OptimizerConfig& config, std::vector<ParamSlice> slices, std::int64_t numel);

  // `step` counts from 1. Gradients must be finite (clip.h, measure); those of clipped slices are
  // multiplied by clip_scale. Gradients are only read. only_unclipped: clipped slices and their
  // moments stay as they are (while the indexers alone learn).
  void step(std::span<float> params, std::span<const float> grads, std::int64_t step, float lr,
            float clip_scale, bool only_unclipped = false);

  // In slice order; valid as long as the optimizer.
  std::vector<OptimizerState> state();
  std::size_t state_bytes() const;  // of the moments, without Newton-Schulz's working memory
  const std::vector<ParamSlice>& slices() const { return slices_; }
  double newton_schulz_flops() const { return muon_.flops() + own_muon_.flops(); }  // of one step

 private:
  bool uses_muon(const ParamSlice& slice) const { return config_.muon && slice.matrix; }
  std::int64_t state_floats() const;
  std::vector<Adamw::Part> adamw_parts() const;
  std::vector<Muon::Matrix> muon_matrices(bool clipped) const;

  OptimizerConfig config_;
  std::vector<ParamSlice> slices_;
  std::int64_t numel_;
  FlatBuffer state_;  // slice after slice, each moment on a line of its own
  Adamw adamw_;
  Muon muon_, own_muon_;  // of clipped slices, and of the others
};

}  // namespace shoal

#include "optim/optimizer.h"

#include <utility>

#include "autograd/base/check.h"

namespace shoal {
namespace {

std::int64_t whole_lines(std::int64_t floats) { return (floats + 15) / 16 * 16; }

std::vector<ParamSlice> checked(std::vector<ParamSlice> slices, std::int64_t numel) {
  check_slices(slices, numel);
  return slices;
}

}  // namespace

Optimizer::Optimizer(const OptimizerConfig& config, std::vector<ParamSlice> slices,
                     std::int64_t numel)
    : config_(config),
      slices_(checked(std::move(slices), numel)),
      numel_(numel),
      state_(state_floats()),
      adamw_({config.beta1, config.beta2, config.eps, config.weight_decay}, adamw_parts()),
      muon_({config.momentum, config.update_rms, config.weight_decay}, muon_matrices(true)),
      own_muon_({config.momentum, config.update_rms, config.weight_decay}, muon_matrices(false)) {}

std::int64_t Optimizer::state_floats() const {
  std::int64_t floats = 0;
  for (const ParamSlice& s : slices_) floats += (uses_muon(s) ? 1 : 2) * whole_lines(s.size);
  return floats;
}

std::size_t Optimizer::state_bytes() const {
  return static_cast<std::size_t>(state_floats()) * sizeof(float);
}

std::vector<Adamw::Part> Optimizer::adamw_parts() const {
  std::vector<Adamw::Part> parts;
  float* at = state_.data();
  for (const ParamSlice& s : slices_) {
    if (!uses_muon(s)) {
      parts.push_back({s.offset, s.size, s.decay, s.clipped, at, at + whole_lines(s.size)});
      at += whole_lines(s.size);
    }
    at += whole_lines(s.size);
  }
  return parts;
}

std::vector<Muon::Matrix> Optimizer::muon_matrices(bool clipped) const {
  std::vector<Muon::Matrix> matrices;
  float* at = state_.data();
  for (const ParamSlice& s : slices_) {
    if (uses_muon(s)) {
      for (const ParamSlice::Block& b : s.blocks) {
        if (s.clipped != clipped) break;
        matrices.push_back(
            {s.offset + b.offset, b.rows, b.cols, s.decay, s.clipped, at + b.offset});
      }
    } else {
      at += whole_lines(s.size);
    }
    at += whole_lines(s.size);
  }
  return matrices;
}

void Optimizer::step(std::span<float> params, std::span<const float> grads, std::int64_t step,
                     float lr, float clip_scale, bool only_unclipped) {
  CHECK(static_cast<std::int64_t>(params.size()) == numel_ &&
            static_cast<std::int64_t>(grads.size()) == numel_,
        "optimizer: made for ", numel_, " parameters, got ", params.size(), " and ", grads.size(),
        " gradients");
  CHECK(step >= 1, "optimizer: step ", step);
  adamw_.step(params.data(), grads.data(), step, lr, clip_scale, only_unclipped);
  if (!only_unclipped) muon_.step(params.data(), grads.data(), lr, clip_scale);
  own_muon_.step(params.data(), grads.data(), lr, clip_scale);
}

std::vector<OptimizerState> Optimizer::state() {
  std::vector<OptimizerState> all;
  std::int64_t at = 0;
  for (const ParamSlice& s : slices_) {
    const auto add = [&](const char* field) {
      all.push_back({s.name, field, state_.span(at, s.size), s.shape});
      at += whole_lines(s.size);
    };
    if (uses_muon(s)) {
      add("momentum");
    } else {
      add("exp_avg");
      add("exp_avg_sq");
    }
  }
  return all;
}

}  // namespace shoal

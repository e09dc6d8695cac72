#include "optim/adamw.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"

namespace shoal {
namespace {

constexpr std::int64_t kPieceFloats = 32768;

struct Factors {
  float beta1, beta2, rest1, rest2;  // rest = 1 - beta
  float root_scale;                  // 1 / sqrt(1 - beta2^t)
  float eps, rate, keep, grad_scale;
};

// eps may be far below the rounding of sqrt(v): it matters where v is zero. There m is zero too, or
// so small that m / eps stays small, and 0 / eps = 0.
void update(std::int64_t size, const Factors& f, const float* grads, float* params, float* exp_avg,
            float* exp_avg_sq) {
  const Factors k = f;  // local, so that each stays in a register
#pragma omp simd
  for (std::int64_t i = 0; i < size; ++i) {
    const float g = grads[i] * k.grad_scale;
    const float m = k.beta1 * exp_avg[i] + k.rest1 * g;
    const float v = k.beta2 * exp_avg_sq[i] + k.rest2 * (g * g);
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    params[i] = k.keep * params[i] - k.rate * (m / (std::sqrt(v) * k.root_scale + k.eps));
  }
}

}  // namespace

Adamw::Adamw(const AdamwConfig& config, const std::vector<Part>& parts) : config_(config) {
  CHECK(config.eps > 0.0 && static_cast<float>(config.eps) > 0.0F, "adamw: eps ", config.eps);
  CHECK(config.beta1 >= 0.0 && config.beta1 < 1.0 && config.beta2 >= 0.0 && config.beta2 < 1.0,
        "adamw: betas ", config.beta1, ", ", config.beta2);
  for (const Part& part : parts) {
    for (std::int64_t begin = 0; begin < part.size; begin += kPieceFloats) {
      pieces_.push_back({part.offset + begin, std::min(kPieceFloats, part.size - begin), part.decay,
                         part.clipped, part.exp_avg + begin, part.exp_avg_sq + begin});
    }
  }
}

void Adamw::step(float* params, const float* grads, std::int64_t step, float lr, float clip_scale,
                 bool only_unclipped) const {
  CHECK(step >= 1, "adamw: step ", step);
  const double t = static_cast<double>(step), rate = static_cast<double>(lr);
  Factors base{};
  base.beta1 = static_cast<float>(config_.beta1);
  base.beta2 = static_cast<float>(config_.beta2);
  base.rest1 = static_cast<float>(1.0 - config_.beta1);
  base.rest2 = static_cast<float>(1.0 - config_.beta2);
  base.root_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(config_.beta2, t)));
  base.eps = static_cast<float>(config_.eps);
  base.rate = static_cast<float>(rate / (1.0 - std::pow(config_.beta1, t)));
  const float keep = static_cast<float>(1.0 - rate * config_.weight_decay);
  for_tasks(static_cast<std::int64_t>(pieces_.size()), [&](std::int64_t i) {
    const Part& piece = pieces_[static_cast<std::size_t>(i)];
    if (only_unclipped && piece.clipped) return;
    Factors f = base;
    f.keep = piece.decay ? keep : 1.0F;
    f.grad_scale = piece.clipped ? clip_scale : 1.0F;
    update(piece.size, f, grads + piece.offset, params + piece.offset, piece.exp_avg,
           piece.exp_avg_sq);
  });
}

}  // namespace shoal

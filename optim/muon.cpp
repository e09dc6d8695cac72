#include "optim/muon.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/base/check.h"

namespace shoal {
namespace {

std::vector<MatrixSize> sizes_of(const std::vector<Muon::Matrix>& matrices) {
  std::vector<MatrixSize> sizes;
  sizes.reserve(matrices.size());
  for (const Muon::Matrix& m : matrices) sizes.push_back({m.rows, m.cols});
  return sizes;
}

// Momentum on the way in, decay and update on the way out: rows are read and written while a thread
// has them in its cache anyway.
class Step : public MatrixRows {
 public:
  Step(const MuonConfig& config, const std::vector<Muon::Matrix>& matrices, float* params,
       const float* grads, float lr, float clip_scale)
      : config_(config),
        matrices_(matrices),
        params_(params),
        grads_(grads),
        lr_(static_cast<double>(lr)),
        clip_scale_(clip_scale) {}

  void load(std::int64_t matrix, std::int64_t row0, std::int64_t row1, float* rows) override {
    const Muon::Matrix& w = matrices_[static_cast<std::size_t>(matrix)];
    const std::int64_t begin = row0 * w.cols, count = (row1 - row0) * w.cols;
    const float mu = static_cast<float>(config_.momentum), scale = w.clipped ? clip_scale_ : 1.0F;
    const float* grads = grads_ + w.offset + begin;
    float* momentum = w.momentum + begin;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
      const float g = grads[i] * scale;
      const float m = mu * momentum[i] + g;
      momentum[i] = m;
      rows[i] = mu * m + g;
    }
  }

  void store(std::int64_t matrix, std::int64_t row0, std::int64_t row1,
             const float* rows) override {
    const Muon::Matrix& w = matrices_[static_cast<std::size_t>(matrix)];
    const std::int64_t begin = row0 * w.cols, count = (row1 - row0) * w.cols;
    const double side = static_cast<double>(std::max(w.rows, w.cols));
    const float rate = static_cast<float>(lr_ * std::sqrt(side) * config_.update_rms);
    const float keep = w.decay ? static_cast<float>(1.0 - lr_ * config_.weight_decay) : 1.0F;
    float* params = params_ + w.offset + begin;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) params[i] = keep * params[i] - rate * rows[i];
  }

 private:
  const MuonConfig& config_;
  const std::vector<Muon::Matrix>& matrices_;
  float* params_;
  const float* grads_;
  double lr_;
  float clip_scale_;
};

}  // namespace

Muon::Muon(const MuonConfig& config, std::vector<Matrix> matrices)
    : config_(config), matrices_(std::move(matrices)), newton_schulz_(sizes_of(matrices_)) {
  CHECK(config.momentum >= 0.0 && config.momentum < 1.0, "muon: momentum ", config.momentum);
}

void Muon::step(float* params, const float* grads, float lr, float clip_scale) {
  Step rows(config_, matrices_, params, grads, lr, clip_scale);
  newton_schulz_.run(rows);
}

}  // namespace shoal

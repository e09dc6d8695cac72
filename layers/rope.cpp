#include "layers/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace shoal {

std::vector<double> rope_frequencies(const RopeConfig& rope, std::int64_t pairs) {
  const double r = 2.0 * static_cast<double>(pairs);
  std::vector<double> w(static_cast<std::size_t>(pairs));
  // The pair that turns n times over the original length.
  const auto corr = [&](double n) {
    return r *
           std::log(static_cast<double>(rope.original_max_position_embeddings) /
                    (2.0 * std::numbers::pi * n)) /
           (2.0 * std::log(rope.theta));
  };
  const double low = std::max(std::floor(corr(rope.beta_fast)), 0.0);
  const double high = std::min(std::ceil(corr(rope.beta_slow)), r - 1.0);
  const double width = high == low ? 0.001 : high - low;
  for (std::size_t i = 0; i < w.size(); ++i) {
    w[i] = std::pow(rope.theta, -2.0 * static_cast<double>(i) / r);
    if (!rope.yarn) continue;
    const double ramp = std::clamp((static_cast<double>(i) - low) / width, 0.0, 1.0);
    w[i] *= (1.0 - ramp) + ramp / rope.factor;
  }
  return w;
}

RopeTableStorage::RopeTableStorage(const RopeConfig& rope, std::int64_t pairs)
    : frequencies_(rope_frequencies(rope, pairs)), pairs_(pairs) {}

void RopeTableStorage::grow(std::int64_t positions) {
  if (positions <= positions_) return;
  cos_sin_.resize(static_cast<std::size_t>(positions * pairs_ * 2));
  for (std::int64_t p = positions_; p < positions; ++p) {
    for (std::int64_t i = 0; i < pairs_; ++i) {
      const double angle = static_cast<double>(p) * frequencies_[static_cast<std::size_t>(i)];
      const auto at = static_cast<std::size_t>((p * pairs_ + i) * 2);
      cos_sin_[at] = static_cast<float>(std::cos(angle));
      cos_sin_[at + 1] = static_cast<float>(std::sin(angle));
    }
  }
  positions_ = positions;
}

RopeTable RopeTableStorage::table() const { return {cos_sin_.data(), pairs_, positions_}; }

}  // namespace shoal

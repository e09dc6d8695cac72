#include "layers/moe/rounded_experts.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "autograd/base/parallel.h"
#include "autograd/kernels/fp4.h"

namespace shoal {
namespace {

constexpr std::size_t kLine = 64;  // copies begin on cache lines, as the masters do

std::size_t bytes_of(const ModelParam& p) { return (p.value.bytes() + kLine - 1) / kLine * kLine; }

}  // namespace

RoundingStats measure_rounding(std::span<ModelParam* const> weights) {
  struct Part {
    std::int64_t to_zero = 0;
    int least = 255, most = 0;
    double error = 0.0, square = 0.0;
  };
  RoundingStats stats;
  Part all;
  for (const ModelParam* p : weights) {
    if (p == nullptr) continue;
    const std::int64_t K = p->value.shape.cols();
    std::array<Part, kChunks> parts;
    for_chunks(p->value.shape.rows(), [&](Range rows) {
      Part& part = parts[static_cast<std::size_t>(rows.chunk)];
      float copy[kFp4Block];
      for (std::int64_t r = rows.begin; r < rows.end; ++r) {
        for (std::int64_t k = 0; k < K; k += kFp4Block) {
          const float* x = p->value.row(r) + k;
          const std::int64_t n = std::min(kFp4Block, K - k);
          fp4_round(x, 1, n, copy);
          float largest = 0.0F;
          for (std::int64_t i = 0; i < n; ++i) {
            largest = std::max(largest, std::fabs(x[i]));
            part.to_zero += copy[i] == 0.0F && x[i] != 0.0F ? 1 : 0;
            const double error = double{copy[i]} - double{x[i]};
            part.error += error * error;
            part.square += double{x[i]} * double{x[i]};
          }
          if (largest == 0.0F) continue;
          part.least = std::min<int>(part.least, fp4_scale(largest));
          part.most = std::max<int>(part.most, fp4_scale(largest));
        }
      }
    });
    for (const Part& part : parts) {
      all.to_zero += part.to_zero;
      all.least = std::min(all.least, part.least);
      all.most = std::max(all.most, part.most);
      all.error += part.error;
      all.square += part.square;
    }
    stats.weights += p->value.shape.numel();
  }
  stats.to_zero = all.to_zero;
  if (all.most > 0) {
    stats.least_scale = all.least - 127;
    stats.most_scale = all.most - 127;
  }
  if (all.square > 0.0) stats.distance = std::sqrt(all.error / all.square);
  return stats;
}

void RoundedExperts::round() {
  if (weights_.empty()) return;
  if (pages_.size() == 0) pages_ = PageRange(bytes());
  std::byte* at = pages_.data();
  for (ModelParam* p : weights_) {
    auto* to = reinterpret_cast<float*>(at);
    const std::int64_t K = p->value.shape.cols();
    for_chunks(p->value.shape.rows(), [&](Range rows) {
      fp4_round(p->value.row(rows.begin), rows.end - rows.begin, K, to + rows.begin * K);
    });
    p->read_from = to;
    at += bytes_of(*p);
  }
}

void RoundedExperts::release() {
  for (ModelParam* p : weights_) p->read_from = nullptr;
}

std::size_t RoundedExperts::bytes() const {
  std::size_t sum = 0;
  for (const ModelParam* p : weights_) sum += bytes_of(*p);
  return sum;
}

}  // namespace shoal

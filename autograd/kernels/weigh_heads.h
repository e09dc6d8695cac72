#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace shoal {

// out[j] = sum_h weight[h] scale max(0, dots[h, j]) for j in [begin, end), one head after the other
inline void weigh_heads(const float* dots, std::int64_t ld, const float* weight, std::int64_t H,
                        float scale, std::int64_t begin, std::int64_t end, float* out) {
  std::fill(out + begin, out + end, 0.0F);
  for (std::int64_t h = 0; h < H; ++h) {
    const float w = weight[h] * scale;
    const float* row = dots + h * ld;
#pragma omp simd
    for (std::int64_t j = begin; j < end; ++j) {
      const float positive = row[j] > 0.0F ? row[j] : 0.0F;
      out[j] = std::fma(w, positive, out[j]);
    }
  }
}

}  // namespace shoal

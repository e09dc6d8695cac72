#pragma once
#include <cstdint>

namespace shoal {

// Rotary angles: cos_sin[(p * pairs + i) * 2 + {0, 1}] = cos, sin of p * w_i (spec 2.3).
struct RopeTable {
  const float* cos_sin = nullptr;
  std::int64_t pairs = 0;      // r / 2: the last r = 2 * pairs values of a vector rotate
  std::int64_t positions = 0;  // p = 0 .. positions - 1
  const float* at(std::int64_t position) const { return cos_sin + position * pairs * 2; }
};

// (v[2i], v[2i+1]) turned by +angle (sign = 1) or -angle (sign = -1); v is the rotary slice.
inline void rotate_pairs(float* v, const float* cos_sin, std::int64_t pairs, float sign) {
#pragma omp simd
  for (std::int64_t i = 0; i < pairs; ++i) {
    const float c = cos_sin[2 * i], s = sign * cos_sin[2 * i + 1];
    const float a = v[2 * i], b = v[2 * i + 1];
    v[2 * i] = a * c - b * s;
    v[2 * i + 1] = a * s + b * c;
  }
}

}  // namespace shoal

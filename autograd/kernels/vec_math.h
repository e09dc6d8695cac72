#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace shoal {

// Sums over a row, in lanes that are written out: the order of additions depends on n alone, not on
// the address, the compiler or the vector width.
using Vec8 = float __attribute__((vector_size(32)));
inline Vec8 load8(const float* x) {  // from any address
  Vec8 v;
  __builtin_memcpy(&v, x, sizeof(v));
  return v;
}

// Brings n floats into the cache: for rows that lie apart, which no processor guesses.
inline void call_for(const float* x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += 16) __builtin_prefetch(x + i);
}

inline float add_lanes(const Vec8& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// sum_i x[i] y[i]
inline float dot(const float* x, const float* y, std::int64_t n) {
  Vec8 a{}, b{}, c{}, d{};
  std::int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    a += load8(x + i) * load8(y + i);
    b += load8(x + i + 8) * load8(y + i + 8);
    c += load8(x + i + 16) * load8(y + i + 16);
    d += load8(x + i + 24) * load8(y + i + 24);
  }
  for (; i + 8 <= n; i += 8) a += load8(x + i) * load8(y + i);
  float tail = 0.0F;
  for (; i < n; ++i) tail += x[i] * y[i];
  return add_lanes((a + b) + (c + d)) + tail;
}
inline float sum_squares(const float* x, std::int64_t n) { return dot(x, x, n); }

// sum_i x[i] y[i] z[i]
inline float dot3(const float* x, const float* y, const float* z, std::int64_t n) {
  Vec8 a{}, b{};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    a += load8(x + i) * load8(y + i) * load8(z + i);
    b += load8(x + i + 8) * load8(y + i + 8) * load8(z + i + 8);
  }
  for (; i + 8 <= n; i += 8) a += load8(x + i) * load8(y + i) * load8(z + i);
  float tail = 0.0F;
  for (; i < n; ++i) tail += x[i] * y[i] * z[i];
  return add_lanes(a + b) + tail;
}

inline float row_sum(const float* x, std::int64_t n) {
  Vec8 a{}, b{};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    a += load8(x + i);
    b += load8(x + i + 8);
  }
  for (; i + 8 <= n; i += 8) a += load8(x + i);
  float tail = 0.0F;
  for (; i < n; ++i) tail += x[i];
  return add_lanes(a + b) + tail;
}

inline float row_max(const float* x, std::int64_t n) {  // n >= 1; exact in any order
  float m = x[0];
#pragma omp simd reduction(max : m)
  for (std::int64_t i = 0; i < n; ++i) m = x[i] > m ? x[i] : m;
  return m;
}

// How many x[i] * sign are above `limit`; NaN is not.
inline int count_above(const float* x, float sign, float limit, std::int64_t n) {
  using Ints = int __attribute__((vector_size(32)));
  Ints found{};  // a comparison that holds is -1
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) found += load8(x + i) * sign > limit;
  int count = 0;
  for (int lane = 0; lane < 8; ++lane) count -= found[lane];
  for (; i < n; ++i) count += x[i] * sign > limit ? 1 : 0;
  return count;
}

// The largest |x[i]|, 0 of nothing; NaN is passed over. Whatever the order, the same.
inline float largest_magnitude(const float* x, std::int64_t n) {
  float most = 0.0F;
#pragma omp simd reduction(max : most)
  for (std::int64_t i = 0; i < n; ++i) most = std::fabs(x[i]) > most ? std::fabs(x[i]) : most;
  return most;
}

// exp(x), relative error below 2e-7 on [-87, 88]; 0 below, saturates above; NaN stays NaN. Plain
// arithmetic without branches, so that loops of it vectorise and a lane equals a scalar.
// Cody and Waite's reduction to |r| <= ln(2)/2, then the Taylor polynomial of degree 7.
inline float fast_exp(float x) {
  constexpr float kMagic = 0x1.8p23F;  // adding it rounds to a whole number
  const float clamped = x > 88.0F ? 88.0F : (x < -87.3F ? -87.3F : x);
  const float shifted = std::fma(clamped, 1.44269504F, kMagic);
  const float n = shifted - kMagic;
  float r = std::fma(n, -0x1.62e4p-1F, clamped);
  r = std::fma(n, -0x1.7f7d1cp-20F, r);
  float p = 1.98412698e-4F;
  p = std::fma(p, r, 1.38888889e-3F);
  p = std::fma(p, r, 8.33333333e-3F);
  p = std::fma(p, r, 4.16666667e-2F);
  p = std::fma(p, r, 1.66666667e-1F);
  p = std::fma(p, r, 0.5F);
  p = std::fma(p, r, 1.0F);
  p = std::fma(p, r, 1.0F);
  const auto bits = std::bit_cast<std::uint32_t>(shifted) << 23;  // n in the exponent's place
  const float scaled = std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + bits);
  return x < -87.3F ? 0.0F : (x != x ? x : scaled);
}

inline float fast_sigmoid(float x) { return 1.0F / (1.0F + fast_exp(-x)); }

}  // namespace shoal

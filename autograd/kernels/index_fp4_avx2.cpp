// The scores of kernels/index_fp4 with 256 bits, which x86-64-v3 has.
#if defined(__x86_64__)
#include "autograd/kernels/index_fp4_block.h"

namespace shoal {
namespace {

// Products of a byte of a key, at most 192, and one of a row, at most 12, fit 16 bits in pairs, and
// so do four such pairs: then the block's factor brings them to 32.
inline __m256i sixteen_dims(const std::uint8_t* key, const std::int8_t* row, int steps) {
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < steps; ++i) {
    std::int32_t four;
    __builtin_memcpy(&four, row + 4 * i, 4);
    const __m256i product = _mm256_maddubs_epi16(load_bytes(key + 64 * i), _mm256_set1_epi32(four));
    sum = i == 0 ? product : _mm256_add_epi16(sum, product);
  }
  return sum;
}

// `kHeads` heads and 16 keys; out += their weighted sum
template <int kHeads>
inline void score_heads(const IndexQuery& q, std::int64_t h, const std::uint8_t* keys,
                        __m256* out) {
  __m256i dots[kHeads][2];
#pragma GCC unroll 8
  for (int i = 0; i < kHeads; ++i) dots[i][0] = dots[i][1] = _mm256_set1_epi32(q.start[h + i]);
  const auto depth = [&](std::int64_t d, int steps) {
#pragma GCC unroll 8
    for (int i = 0; i < kHeads; ++i) {
      const std::int8_t* row = q.rows + (h + i) * q.width + d;
      const __m256i factor = _mm256_set1_epi32(q.factors[(h + i) * q.blocks + d / 32]);
#pragma GCC unroll 8
      for (int half = 0; half < 2; ++half) {
        const __m256i sum = sixteen_dims(keys + d * 16 + half * 32, row, steps);
        dots[i][half] = _mm256_add_epi32(dots[i][half], _mm256_madd_epi16(sum, factor));
      }
    }
  };
  std::int64_t d = 0;
  for (; d + 16 <= q.width; d += 16) depth(d, 4);
  if (d < q.width) depth(d, 2);
#pragma GCC unroll 8
  for (int i = 0; i < kHeads; ++i) {
    const __m256 weight = _mm256_set1_ps(q.weights[h + i]);
#pragma GCC unroll 8
    for (int half = 0; half < 2; ++half) {
      const __m256i positive = _mm256_max_epi32(dots[i][half], _mm256_setzero_si256());
      out[half] = _mm256_fmadd_ps(weight, _mm256_cvtepi32_ps(positive), out[half]);
    }
  }
}

void score(const IndexQuery& q, const KeyStrip& strip, float* out) {
  for (std::int64_t group = 0; group < kKeyStrip / kKeyGroup; ++group) {
    const std::uint8_t* keys = strip.bytes + group * kKeyGroup * q.width;
    __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    std::int64_t h = 0;
    for (; h + 4 <= q.H; h += 4) score_heads<4>(q, h, keys, sums);
    for (; h < q.H; ++h) score_heads<1>(q, h, keys, sums);
#pragma GCC unroll 8
    for (int half = 0; half < 2; ++half) {
      const __m256 unit = _mm256_loadu_ps(strip.unit + group * kKeyGroup + half * 8);
      _mm256_storeu_ps(out + group * kKeyGroup + half * 8, _mm256_mul_ps(sums[half], unit));
    }
  }
}

}  // namespace

const IndexKernel* index_kernel_avx2() {
  static constexpr IndexKernel kKernel{"avx2", false, expand, score};
  return &kKernel;
}

}  // namespace shoal
#endif

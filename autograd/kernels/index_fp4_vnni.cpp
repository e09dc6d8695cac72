// The scores of kernels/index_fp4 with AVX-512 VNNI, for which this file alone is compiled (see
// CMakeLists.txt); called only where the processor has it.
#if defined(__x86_64__)
#include "autograd/kernels/index_fp4_block.h"

namespace shoal {
namespace {

constexpr int kGroups = static_cast<int>(kKeyStrip / kKeyGroup);
// g++ 12 warns of uninitialized operands in the forms without a mask; the instructions are the
// same.
constexpr __mmask16 kAll = 0xffff;

// sum += the products of four unsigned bytes of a key and four signed ones of a row, in each lane.
// Written out, because g++ 12 moves every sum through memory around its own form of it.
inline __attribute__((always_inline)) void multiply_add(__m512i& sum, __m512i key, __m512i row) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(key), "v"(row));
}

// `kHeads` heads and 64 keys; out += their weighted sum
template <int kHeads>
inline __attribute__((always_inline)) void score_heads(const IndexQuery& q, std::int64_t h,
                                                       const std::uint8_t* keys, __m512* out) {
  const std::int64_t W = q.width;
  const std::int8_t* rows = q.rows + h * W;
  __m512i dots[kHeads][kGroups];
#pragma GCC unroll 8
  for (int i = 0; i < kHeads; ++i) {
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) dots[i][g] = _mm512_set1_epi32(q.start[h + i]);
  }
  for (std::int64_t d = 0; d < W; d += 4) {
    __m512i key[kGroups];
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      key[g] = _mm512_loadu_si512(keys + g * kKeyGroup * W + d * 16);
    }
#pragma GCC unroll 8
    for (int i = 0; i < kHeads; ++i) {
      std::int32_t four;
      __builtin_memcpy(&four, rows + i * W + d, 4);
      const __m512i row = _mm512_set1_epi32(four);
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; ++g) multiply_add(dots[i][g], key[g], row);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kHeads; ++i) {
    const __m512 weight = _mm512_set1_ps(q.weights[h + i]);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      const __m512i positive = _mm512_maskz_max_epi32(kAll, dots[i][g], _mm512_setzero_si512());
      out[g] = _mm512_fmadd_ps(weight, _mm512_maskz_cvtepi32_ps(kAll, positive), out[g]);
    }
  }
}

void score(const IndexQuery& q, const KeyStrip& strip, float* out) {
  __m512 sums[kGroups];
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) sums[g] = _mm512_setzero_ps();
  std::int64_t h = 0;
  for (; h + 6 <= q.H; h += 6) score_heads<6>(q, h, strip.bytes, sums);
  for (; h + 4 <= q.H; h += 4) score_heads<4>(q, h, strip.bytes, sums);
  for (; h < q.H; ++h) score_heads<1>(q, h, strip.bytes, sums);
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) {
    const __m512 unit = _mm512_loadu_ps(strip.unit + g * kKeyGroup);
    _mm512_storeu_ps(out + g * kKeyGroup, _mm512_mul_ps(sums[g], unit));
  }
}

}  // namespace

const IndexKernel* index_kernel_wide() {
  static constexpr IndexKernel kKernel{"vnni", true, expand, score};
  return &kKernel;
}

}  // namespace shoal
#endif

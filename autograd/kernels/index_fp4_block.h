// Keys' codes into bytes for the inner loops of kernels/index_fp4, with 256 bits; included by one
// .cpp per instruction set (see wide_vectors.h for why everything is in an unnamed namespace).
#pragma once
#if defined(__x86_64__)
#include <immintrin.h>

#include "autograd/kernels/index_fp4.h"

namespace {

inline __attribute__((always_inline)) __m256i load_bytes(const std::uint8_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
inline __attribute__((always_inline)) void store_bytes(std::uint8_t* to, __m256i x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x);
}

// Doubles the bytes of the keys whose scale is `shift` powers of two above their least one.
inline __attribute__((always_inline)) __m256i double_where(__m256i x, __m256i shift) {
  for (int i = 0; i < 3; ++i) {
    x = _mm256_add_epi8(x, _mm256_and_si256(x, _mm256_cmpgt_epi32(shift, _mm256_set1_epi32(i))));
  }
  return x;
}

// 16 keys whose scales fit; `shifts` [blocks][16] are those above each key's least.
inline void expand_group(const std::uint8_t* codes, const std::uint8_t* shifts, std::int64_t width,
                         std::uint8_t* to) {
  const __m256i twice = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12));
  const __m256i bias = _mm256_set1_epi8(shoal::kKeyBias), low_bits = _mm256_set1_epi8(15);
  for (std::int64_t d = 0; d < width; d += 8, codes += 64, to += 128) {
    const __m128i shift = _mm_loadu_si128(reinterpret_cast<const __m128i*>(shifts + d / 32 * 16));
    const bool plain = _mm_testz_si128(shift, shift) != 0;
    for (int half = 0; half < 2; ++half) {
      const __m256i pair = load_bytes(codes + 32 * half);
      __m256i low = _mm256_shuffle_epi8(twice, _mm256_and_si256(pair, low_bits));
      __m256i high =
          _mm256_shuffle_epi8(twice, _mm256_and_si256(_mm256_srli_epi16(pair, 4), low_bits));
      if (!plain) {
        const __m256i wide = _mm256_cvtepu8_epi32(half == 0 ? shift : _mm_srli_si128(shift, 8));
        low = double_where(low, wide);
        high = double_where(high, wide);
      }
      store_bytes(to + 32 * half, _mm256_add_epi8(low, bias));
      store_bytes(to + 64 + 32 * half, _mm256_add_epi8(high, bias));
    }
  }
}

// See IndexKernel.
void expand(const shoal::PackedKeys& keys, std::int64_t first, std::int64_t count,
            shoal::KeyStrip& strip) {
  using namespace shoal;
  const std::int64_t W = keys.width(), blocks = keys.blocks();
  std::uint8_t shifts[kKeyGroup * 32];  // of 1,024 dimensions
  strip.unfit = 0;
  for (std::int64_t g = 0; g < kKeyStrip; g += kKeyGroup) {
    std::uint8_t* to = strip.bytes + g * W;
    const std::int64_t left = count - first - g;
    if (left <= 0) {
      __builtin_memset(to, kKeyBias, static_cast<std::size_t>(kKeyGroup * W));
      for (std::int64_t i = 0; i < kKeyGroup; ++i) strip.unit[g + i] = 0.0F;
      continue;
    }
    const std::uint8_t* scales = keys.scales + (first + g) * blocks;
    const auto block = [&](std::int64_t b) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + b * kKeyGroup));
    };
    __m128i least = block(0), most = least;
    for (std::int64_t b = 1; b < blocks; ++b) {
      least = _mm_min_epu8(least, block(b));
      most = _mm_max_epu8(most, block(b));
    }
    // Within bounds: x == max(x, bound) or min, byte by byte.
    const __m128i near = _mm_subs_epu8(_mm_sub_epi8(most, least), _mm_set1_epi8(kMostKeyShift));
    const __m128i fits = _mm_and_si128(
        _mm_and_si128(_mm_cmpeq_epi8(near, _mm_setzero_si128()),
                      _mm_cmpeq_epi8(_mm_max_epu8(least, _mm_set1_epi8(kLeastKeyScale)), least)),
        _mm_cmpeq_epi8(_mm_min_epu8(most, _mm_set1_epi8(static_cast<char>(kMostKeyScale))), most));
    const int unfit = ~_mm_movemask_epi8(fits) & (left < kKeyGroup ? (1 << left) - 1 : 0xffff);
    strip.unfit |= static_cast<std::uint64_t>(unfit) << g;
    for (std::int64_t b = 0; b < blocks; ++b) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(shifts + b * kKeyGroup),
                       _mm_and_si128(_mm_sub_epi8(block(b), least), fits));
    }
    // unit = 2^(least - 128), zero for those that do not fit
    const __m128i usable = _mm_and_si128(least, fits);
    for (int half = 0; half < 2; ++half) {
      const __m256i wide = _mm256_cvtepu8_epi32(half == 0 ? usable : _mm_srli_si128(usable, 8));
      const __m256i power = _mm256_slli_epi32(
          _mm256_max_epi32(_mm256_sub_epi32(wide, _mm256_set1_epi32(1)), _mm256_setzero_si256()),
          23);
      _mm256_storeu_ps(strip.unit + g + 8 * half, _mm256_castsi256_ps(power));
    }
    expand_group(keys.codes + (first + g) * W / 2, shifts, W, to);
  }
}

}  // namespace
#endif

#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace shoal {

// FP4 as DeepSeek stores it, MXFP4 (spec 8.1). Blocks of 32 values along a row share one scale, a
// power of two; the last block of a row may be shorter.
//   a = max(|x|, 6 * 2^-126)   S = 2^ceil(log2(a / 6))   x ~ S * the nearest of
//   0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives (E2M1), of two that are equally near the one
//   with the even code
// Nothing saturates: |x| / S is at most 6 (so that numbers from 3.5 * 2^126 on round up to
// infinity). A block that holds a number which is not finite becomes
// NaN as a whole, so that nobody overlooks it.
inline constexpr std::int64_t kFp4Block = 32;

// Packed rows: two codes a byte, the earlier value in the low four bits; a byte 127 + log2(S)
// (UE8M0) for each block, 255 for NaN. Codes 0 .. 7 are the values above, 8 .. 15 their negatives.
inline constexpr std::uint8_t kFp4ScaleNan = 255;
constexpr std::int64_t fp4_code_bytes(std::int64_t K) { return (K + 1) / 2; }
constexpr std::int64_t fp4_scale_bytes(std::int64_t K) { return (K + kFp4Block - 1) / kFp4Block; }

// y [rows, K] = x rounded; y may be x.
void fp4_round(const float* x, std::int64_t rows, std::int64_t K, float* y);
// codes [rows, fp4_code_bytes(K)], scales [rows, fp4_scale_bytes(K)]. An odd K leaves the last four
// bits of a row zero.
void fp4_pack(const float* x, std::int64_t rows, std::int64_t K, std::uint8_t* codes,
              std::uint8_t* scales);
// Exactly the numbers of fp4_round, if fp4_pack wrote the bytes.
void fp4_unpack(const std::uint8_t* codes, const std::uint8_t* scales, std::int64_t rows,
                std::int64_t K, float* y);

// The rounding of one number, |x| <= 6, whose block's scale is 1. Adding and taking away a number
// whose last place is the step of E2M1 around x rounds as the processor rounds: to nearest, ties to
// the even multiple, which is the even code.
inline float round_to_e2m1(float x) {
  const float size = std::fabs(x), at_least_1 = size > 1.0F ? size : 1.0F;
  const auto power = std::bit_cast<std::uint32_t>(at_least_1) & 0x7f800000U;
  const float shift = std::bit_cast<float>(power + (22U << 23));
  return std::copysign((size + shift) - shift, x);
}
inline std::uint8_t e2m1_code(float rounded) {
  const int twice = static_cast<int>(2.0F * std::fabs(rounded));  // 0 1 2 3 4 6 8 12
  const int a = 2 + twice / 2, b = 4 + twice / 4;
  const int code = twice < a ? twice : a < b ? a : b;
  return static_cast<std::uint8_t>(code | (std::signbit(rounded) ? 8 : 0));
}
inline int e2m1_twice(std::uint8_t code) {  // twice the value: a whole number up to 12
  constexpr std::int8_t kTwice[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  return kTwice[code & 15];
}
// 127 + log2(S) of a block whose largest number is `largest`, in 1 .. 253; NaN and infinity: 255.
inline std::uint8_t fp4_scale(float largest) {
  constexpr std::uint32_t kFloor = (3U << 23) + 0x400000U;  // 6 * 2^-126
  const auto bits = std::bit_cast<std::uint32_t>(std::fabs(largest));
  if (bits >= 0x7f800000U) return kFp4ScaleNan;
  // 6 = 1.5 * 4: the power above, where the mantissa is above 1.5.
  return static_cast<std::uint8_t>((((bits > kFloor ? bits : kFloor) + 0x3fffffU) >> 23) - 2);
}
inline float scale_value(std::uint8_t scale) {  // 0 is 2^-127
  if (scale == 0) return std::bit_cast<float>(0x400000U);
  if (scale == kFp4ScaleNan) return std::nanf("");
  return std::bit_cast<float>(static_cast<std::uint32_t>(scale) << 23);
}

}  // namespace shoal

#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace shoal {

// FP8 E4M3 (spec 8.4): up to 448, steps of 2^-9 below 2^-6, no infinity. Blocks of values share a
// scale S = 2^ceil(log2(max(|x|, 1e-4) / 448)). A block with a number that is not finite becomes
// NaN as a whole.
//   y [rows, K] = x rounded in blocks of `block` along a row, the last one shorter; y may be x.
void fp8_round(const float* x, std::int64_t rows, std::int64_t K, std::int64_t block, float* y);

// The rounding of one number whose scale is 1, ties to even; beyond 448 it saturates.
inline float round_to_e4m3(float x) {
  const float size = std::fabs(x), normal = size > 0x1p-6F ? size : 0x1p-6F;
  const auto power = std::bit_cast<std::uint32_t>(normal) & 0x7f800000U;
  const float shift = std::bit_cast<float>(power + (20U << 23));
  const float rounded = (size + shift) - shift;
  return std::copysign(rounded > 448.0F ? 448.0F : rounded, x);
}
std::uint8_t e4m3_code(float rounded);  // NaN: 0x7f
float e4m3_value(std::uint8_t code);

// Packed FP4 rows (fp4.h) as one FP8 block, without loss (spec 8.3): its scale is the largest of
// theirs over 2^6, and each value times its own scale over that is a number of E4M3 while the
// scales of values that are not zero differ by 2^14 at most. False where they do not: nothing is
// written.
//   codes8 [rows, K]; *scale8 = 127 + log2 of the scale
bool fp4_to_fp8(const std::uint8_t* codes, const std::uint8_t* scales, std::int64_t rows,
                std::int64_t K, std::uint8_t* codes8, std::uint8_t* scale8);

// bfloat16: the upper half of a float, rounded to nearest, ties to even. NaN stays NaN.
inline float round_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U;
  const bool nan = (bits & 0x7fffffffU) > 0x7f800000U;
  return std::bit_cast<float>(nan ? (bits | 0x400000U) & 0xffff0000U : rounded);
}

}  // namespace shoal

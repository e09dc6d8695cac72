#include "autograd/kernels/fp8.h"

#include <algorithm>

#include "autograd/kernels/fp4.h"

namespace shoal {
namespace {

constexpr int kMostShift = 14;  // between FP4 scales of one FP8 block
constexpr std::uint32_t kInfinity = 0x7f800000U;

}  // namespace

void fp8_round(const float* x, std::int64_t rows, std::int64_t K, std::int64_t block, float* y) {
  for (std::int64_t r = 0; r < rows; ++r, x += K, y += K) {
    for (std::int64_t k = 0; k < K; k += block) {
      const std::int64_t end = std::min(K, k + block);
      std::uint32_t largest = std::bit_cast<std::uint32_t>(1e-4F);
      for (std::int64_t i = k; i < end; ++i) {
        largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffU);
      }
      if (largest >= kInfinity) {
        std::fill(y + k, y + end, std::nanf(""));
        continue;
      }
      // 448 = 1.75 * 2^8: the power above, where the mantissa is above 1.75.
      const auto scale = static_cast<std::uint8_t>(((largest + 0x1fffffU) >> 23) - 8);
      const float S = scale_value(scale);
      const float inverse = scale_value(static_cast<std::uint8_t>(254 - scale));
      for (std::int64_t i = k; i < end; ++i) y[i] = round_to_e4m3(x[i] * inverse) * S;
    }
  }
}

std::uint8_t e4m3_code(float rounded) {
  if (std::isnan(rounded)) return 0x7f;
  const auto bits = std::bit_cast<std::uint32_t>(std::fabs(rounded));
  const int sign = std::signbit(rounded) ? 0x80 : 0;
  if (std::fabs(rounded) < 0x1p-6F) {
    return static_cast<std::uint8_t>(sign | static_cast<int>(std::fabs(rounded) * 512.0F));
  }
  return static_cast<std::uint8_t>(sign | static_cast<int>((bits >> 20) - (120U << 3)));
}

float e4m3_value(std::uint8_t code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  if ((code & 0x7f) == 0x7f) return std::nanf("");
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                   : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (code & 0x80) != 0 ? -size : size;
}

bool fp4_to_fp8(const std::uint8_t* codes, const std::uint8_t* scales, std::int64_t rows,
                std::int64_t K, std::uint8_t* codes8, std::uint8_t* scale8) {
  const auto code_at = [&](std::int64_t r, std::int64_t k) {
    return codes[r * fp4_code_bytes(K) + k / 2] >> (k % 2 * 4) & 15;
  };
  int largest = 0, smallest = 255;  // over blocks that are not all zero
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t k = 0; k < K; ++k) {
      const int scale = scales[r * fp4_scale_bytes(K) + k / kFp4Block];
      if (scale == kFp4ScaleNan) return false;
      if ((code_at(r, k) & 7) == 0) continue;
      largest = std::max(largest, scale);
      smallest = std::min(smallest, scale);
    }
  }
  if (smallest > largest) smallest = largest = 127;  // nothing but zeros
  if (largest - smallest > kMostShift || largest < 6) return false;
  *scale8 = static_cast<std::uint8_t>(largest - 6);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t k = 0; k < K; ++k) {
      const int code = code_at(r, k);
      const int scale = scales[r * fp4_scale_bytes(K) + k / kFp4Block];
      const float size =
          (code & 7) == 0
              ? 0.0F
              : std::ldexp(0.5F * static_cast<float>(e2m1_twice(code & 7)), scale - largest + 6);
      codes8[r * K + k] = e4m3_code(code > 7 ? -size : size);
    }
  }
  return true;
}

}  // namespace shoal

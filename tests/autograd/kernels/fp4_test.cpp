#include "autograd/kernels/fp4.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "autograd/base/rng.h"

namespace shoal::testing {
namespace {

constexpr double kValues[] = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0};
using Floats = std::vector<float>;
using Bytes = std::vector<std::uint8_t>;

// The nearest of the eight values, of two the one with the even code: by looking at all of them.
int nearest_code(double size) {
  int best = 0;
  for (int code = 1; code < 8; ++code) {
    const double there = std::fabs(size - kValues[code]), here = std::fabs(size - kValues[best]);
    if (there < here || (there == here && code % 2 == 0)) best = code;
  }
  return best;
}
// 2^e with the smallest e >= -126 such that 6 * 2^e covers the block.
double scale_of(double largest) {
  double S = std::ldexp(1.0, -126);
  while (6.0 * S < largest) S *= 2.0;
  return S;
}
float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }
std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }
void expect_bits(float got, float want) { ASSERT_EQ(bits_of(got), bits_of(want)) << got; }

Floats random_row(std::int64_t n, std::uint64_t seed) {
  const Rng rng(seed, Purpose::kTest);
  Floats x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
  return x;
}

void expect_rounded(float x) {
  const int code = nearest_code(std::fabs(double{x}));
  const float want = std::copysign(static_cast<float>(kValues[code]), x);
  expect_bits(round_to_e2m1(x), want);
  ASSERT_EQ(e2m1_code(want), code | (std::signbit(x) ? 8 : 0)) << x;
}

TEST(Fp4, RoundsEveryNumberAroundEveryBorderToTheNearestValueTiesToTheEvenCode) {
  for (int code = 0; code < 7; ++code) {
    const auto middle = static_cast<float>((kValues[code] + kValues[code + 1]) / 2);
    for (const float border :
         {middle, static_cast<float>(kValues[code]), static_cast<float>(kValues[code + 1])}) {
      const std::int64_t centre = bits_of(border);
      for (std::int64_t b = std::max<std::int64_t>(0, centre - 5000);
           b <= std::min<std::int64_t>(bits_of(6.0F), centre + 5000); ++b) {
        for (const std::uint32_t sign : {0U, 0x80000000U}) {
          expect_rounded(from_bits(static_cast<std::uint32_t>(b) | sign));
        }
      }
    }
  }
}

TEST(Fp4, RoundsNumbersOfAllSizes) {
  for (std::uint64_t b = 0; b <= bits_of(6.0F); b += 4099) {
    expect_rounded(from_bits(static_cast<std::uint32_t>(b)));
  }
}

TEST(Fp4, MidpointsGoWhereTheSpecificationSays) {
  const float from[] = {0.25F, 0.75F, 1.25F, 1.75F, 2.5F, 3.5F, 5.0F};
  const float to[] = {0.0F, 1.0F, 1.0F, 2.0F, 2.0F, 4.0F, 4.0F};
  for (int i = 0; i < 7; ++i) EXPECT_EQ(round_to_e2m1(from[i]), to[i]) << from[i];
}

TEST(Fp4, TwiceAValueIsAWholeNumber) {
  for (int code = 0; code < 16; ++code) {
    const double value = kValues[code & 7] * (code > 7 ? -2 : 2);
    EXPECT_EQ(e2m1_twice(static_cast<std::uint8_t>(code)), value);
  }
}

// Every power of two with the mantissas where the scale changes, subnormal numbers and zero too.
TEST(Fp4, EveryScaleIsTheSmallestThatCoversItsBlock) {
  for (std::uint32_t exponent = 0; exponent < 255; ++exponent) {
    for (const std::uint32_t mantissa :
         {0U, 1U, 0x3fffffU, 0x400000U, 0x400001U, 0x600000U, 0x7fffffU}) {
      const float largest = from_bits(exponent << 23 | mantissa);
      const std::uint8_t scale = fp4_scale(largest);
      ASSERT_EQ(double{scale_value(scale)}, scale_of(double{largest})) << largest;
      ASSERT_EQ(fp4_scale(-largest), scale);
      ASSERT_GE(scale, 1);
      ASSERT_LE(scale, 253);
      ASSERT_LE(double{largest} / double{scale_value(scale)}, 6.0);
    }
  }
  EXPECT_EQ(fp4_scale(std::numeric_limits<float>::infinity()), kFp4ScaleNan);
  EXPECT_EQ(fp4_scale(std::nanf("")), kFp4ScaleNan);
  EXPECT_EQ(scale_value(0), 0x1p-127F);
  EXPECT_TRUE(std::isnan(scale_value(kFp4ScaleNan)));
}

void expect_rows(std::int64_t rows, std::int64_t K, const Floats& x) {
  const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
  Floats rounded(x.size()), again = x, unpacked(x.size());
  fp4_round(x.data(), rows, K, rounded.data());
  fp4_round(again.data(), rows, K, again.data());
  Bytes codes(size(rows * fp4_code_bytes(K))), scales(size(rows * fp4_scale_bytes(K)));
  fp4_pack(x.data(), rows, K, codes.data(), scales.data());
  fp4_unpack(codes.data(), scales.data(), rows, K, unpacked.data());
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t k0 = 0; k0 < K; k0 += 32) {
      double largest = 0.0;
      for (std::int64_t k = k0; k < std::min(K, k0 + 32); ++k) {
        largest = std::max(largest, std::fabs(double{x[size(r * K + k)]}));
      }
      for (std::int64_t k = k0; k < std::min(K, k0 + 32); ++k) {
        const float from = x[size(r * K + k)];
        const double S = scale_of(largest);
        const double want = kValues[nearest_code(std::fabs(double{from}) / S)] * S;
        expect_bits(rounded[size(r * K + k)], std::copysign(static_cast<float>(want), from));
        expect_bits(again[size(r * K + k)], rounded[size(r * K + k)]);
        expect_bits(unpacked[size(r * K + k)], rounded[size(r * K + k)]);
      }
    }
  }
  // Rounding what is rounded changes nothing.
  fp4_round(again.data(), rows, K, again.data());
  for (std::size_t i = 0; i < x.size(); ++i) expect_bits(again[i], rounded[i]);
}

TEST(Fp4, RoundsAndPacksRowsWithBlocksOfAnyLength) {
  for (const std::int64_t K : {1, 2, 3, 15, 31, 32, 33, 63, 64, 65, 100, 128}) {
    expect_rows(5, K, random_row(5 * K, static_cast<std::uint64_t>(K)));
  }
}

TEST(Fp4, BlocksOfZerosOfSubnormalNumbersAndOfTheLargest) {
  for (const float scale : {0.0F, 1e-45F, 1e-40F, 1e-38F, 1e-36F, 1e30F, 3e37F}) {
    Floats x = random_row(3 * 40, 9);
    for (float& v : x) v *= scale;
    expect_rows(3, 40, x);
  }
  Floats extreme(33, 0x1.bffffep127F);  // the largest that does not round up to infinity
  extreme[1] = std::numeric_limits<float>::denorm_min();
  extreme[2] = -0.0F;
  expect_rows(1, 33, extreme);
}

TEST(Fp4, APackedByteHoldsTwoNeighboursTheEarlierOneLow) {
  const Floats x = {6.0F, -1.0F, 0.5F};
  Bytes codes(2), scales(1);
  fp4_pack(x.data(), 1, 3, codes.data(), scales.data());
  EXPECT_EQ(codes[0], 0xa7);
  EXPECT_EQ(codes[1], 0x01);
  EXPECT_EQ(scales[0], 127);
}

TEST(Fp4, ANumberThatIsNotFiniteSpoilsItsBlockAndNoOther) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    Floats x = random_row(64, 3);
    x[5] = bad;
    Floats y(64), z(64);
    fp4_round(x.data(), 1, 64, y.data());
    Bytes codes(32), scales(2);
    fp4_pack(x.data(), 1, 64, codes.data(), scales.data());
    fp4_unpack(codes.data(), scales.data(), 1, 64, z.data());
    for (std::size_t i = 0; i < 64; ++i) {
      EXPECT_EQ(std::isnan(y[i]), i < 32);
      EXPECT_EQ(std::isnan(z[i]), i < 32);
    }
  }
}

}  // namespace
}  // namespace shoal::testing

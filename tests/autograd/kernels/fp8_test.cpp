#include "autograd/kernels/fp8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/base/rng.h"
#include "autograd/kernels/fp4.h"

namespace shoal::testing {
namespace {

// The numbers of E4M3 from 0 up to 448, by definition.
std::vector<double> e4m3_values() {
  std::vector<double> all;
  for (int mantissa = 0; mantissa < 8; ++mantissa) all.push_back(std::ldexp(mantissa, -9));
  for (int exponent = -6; exponent <= 8; ++exponent) {
    for (int mantissa = 0; mantissa < 8; ++mantissa) {
      const double value = std::ldexp(8 + mantissa, exponent - 3);
      if (value <= 448.0) all.push_back(value);
    }
  }
  return all;
}

TEST(Fp8, CodesAndValuesAreThoseOfE4M3) {
  const std::vector<double> values = e4m3_values();
  ASSERT_EQ(values.size(), 127U);
  for (std::size_t code = 0; code < values.size(); ++code) {
    const auto value = static_cast<float>(values[code]);
    ASSERT_EQ(e4m3_value(static_cast<std::uint8_t>(code)), value);
    ASSERT_EQ(e4m3_code(value), code);
    ASSERT_EQ(e4m3_value(static_cast<std::uint8_t>(code | 0x80)), -value);
    ASSERT_EQ(e4m3_code(-value), code | 0x80);
  }
  EXPECT_TRUE(std::isnan(e4m3_value(0x7f)));
  EXPECT_EQ(e4m3_code(std::nanf("")), 0x7f);
}

TEST(Fp8, RoundsEveryMidpointAndItsNeighboursTiesToTheEvenCode) {
  const std::vector<double> values = e4m3_values();
  for (std::size_t code = 0; code + 1 < values.size(); ++code) {
    const auto low = static_cast<float>(values[code]), high = static_cast<float>(values[code + 1]);
    const float middle = (low + high) / 2;
    EXPECT_EQ(round_to_e4m3(middle), code % 2 == 0 ? low : high);
    EXPECT_EQ(round_to_e4m3(std::nextafter(middle, 0.0F)), low);
    EXPECT_EQ(round_to_e4m3(std::nextafter(middle, 1e9F)), high);
    EXPECT_EQ(round_to_e4m3(-middle), code % 2 == 0 ? -low : -high);
    EXPECT_EQ(round_to_e4m3(low), low);
  }
  EXPECT_EQ(round_to_e4m3(1e6F), 448.0F);
}

TEST(Fp8, BlocksHaveTheSmallestScaleThatCoversThem) {
  const Rng rng(3, Purpose::kTest);
  for (int power = -20; power <= 20; ++power) {
    std::vector<float> x(150), y(150);
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = std::ldexp(static_cast<float>(rng.normal(i)), power);
    }
    fp8_round(x.data(), 1, 150, 64, y.data());
    for (std::size_t k = 0; k < 150; k += 64) {
      const std::size_t end = std::min<std::size_t>(150, k + 64);
      double largest = 1e-4F;
      for (std::size_t i = k; i < end; ++i) largest = std::max(largest, std::fabs(double{x[i]}));
      double S = 0x1p-100;
      while (448.0 * S < largest) S *= 2.0;
      for (std::size_t i = k; i < end; ++i) {
        ASSERT_EQ(double{y[i]}, S * double{round_to_e4m3(static_cast<float>(x[i] / S))});
      }
    }
  }
}

TEST(Fp8, ABlockThatIsNotFiniteIsNan) {
  std::vector<float> x(70, 1.0F);
  x[3] = std::numeric_limits<float>::infinity();
  fp8_round(x.data(), 1, 70, 64, x.data());
  EXPECT_TRUE(std::isnan(x[0]));
  EXPECT_EQ(x[64], 1.0F);
}

// Spec 8.3: E2M1 * 2^e is a number of E4M3 for every e in [-8, 6], and for no wider range.
TEST(Fp8, EveryFp4ValueTimesTwoToTheEIsExactForEFromMinus8To6) {
  const auto exact = [](int e) {
    for (int code = 0; code < 16; ++code) {
      const auto x =
          std::ldexp(0.5F * static_cast<float>(e2m1_twice(static_cast<std::uint8_t>(code))), e);
      if (round_to_e4m3(x) != x) return false;
    }
    return true;
  };
  for (int e = -8; e <= 6; ++e) EXPECT_TRUE(exact(e)) << e;
  EXPECT_FALSE(exact(-9));
  EXPECT_FALSE(exact(7));
}

// All pairs of scales that a block can hold: exact up to a ratio of 2^14, refused beyond.
TEST(Fp8, PackedFp4BlocksConvertWithoutLossWhileTheirScalesDifferBy2To14) {
  std::vector<std::uint8_t> codes(32), out(64);
  for (std::size_t i = 0; i < 16; ++i) {  // both blocks hold all 16 codes
    codes[i / 2] |= static_cast<std::uint8_t>(i << (i % 2 * 4));
    codes[16 + i / 2] = codes[i / 2];
  }
  for (int high = 6; high <= 254; ++high) {
    for (int low = std::max(0, high - 20); low <= high; ++low) {
      const std::uint8_t scales[2] = {static_cast<std::uint8_t>(low),
                                      static_cast<std::uint8_t>(high)};
      std::uint8_t scale = 0;
      const bool done = fp4_to_fp8(codes.data(), scales, 1, 64, out.data(), &scale);
      ASSERT_EQ(done, high - low <= 14) << high << " " << low;
      if (!done) continue;
      for (std::size_t i = 0; i < 64; ++i) {
        const int code = codes[i / 2] >> (i % 2 * 4) & 15;
        const double want =
            std::ldexp(e2m1_twice(static_cast<std::uint8_t>(code)), scales[i / 32] - 128);
        ASSERT_EQ(std::ldexp(double{e4m3_value(out[i])}, scale - 127), want);
      }
    }
  }
  const std::uint8_t nan[2] = {kFp4ScaleNan, 127};
  std::uint8_t scale = 0;
  EXPECT_FALSE(fp4_to_fp8(codes.data(), nan, 1, 64, out.data(), &scale));
}

TEST(Fp8, BlocksOfZerosDoNotCountInTheRatio) {
  std::vector<std::uint8_t> codes(32, 0), out(64);
  codes[20] = 0x17;
  const std::uint8_t scales[2] = {1, 200};
  std::uint8_t scale = 0;
  ASSERT_TRUE(fp4_to_fp8(codes.data(), scales, 1, 64, out.data(), &scale));
  EXPECT_EQ(scale, 194);
  EXPECT_EQ(e4m3_value(out[40]), 384.0F);
  EXPECT_EQ(e4m3_value(out[0]), 0.0F);
}

TEST(Bfloat16, RoundsToTheNearestTiesToEven) {
  for (std::uint32_t upper = 0; upper < 0x10000; ++upper) {
    const auto exact = std::bit_cast<float>(upper << 16);
    if (std::isnan(exact)) {
      ASSERT_TRUE(std::isnan(round_to_bf16(exact)));
      continue;
    }
    ASSERT_EQ(std::bit_cast<std::uint32_t>(round_to_bf16(exact)), upper << 16);
    if (std::isinf(exact)) continue;
    const std::uint32_t next = (upper + 1) << 16;
    const auto at = [&](std::uint32_t low) {
      return std::bit_cast<std::uint32_t>(round_to_bf16(std::bit_cast<float>((upper << 16) + low)));
    };
    ASSERT_EQ(at(0x7fff), upper << 16);
    ASSERT_EQ(at(0x8000), upper % 2 == 0 ? upper << 16 : next);
    ASSERT_EQ(at(0x8001), next);
  }
}

}  // namespace
}  // namespace shoal::testing

#include "autograd/kernels/vec_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/optim/testing.h"

namespace shoal::testing {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

double relative_error(float x) {
  const long double want = std::exp(static_cast<long double>(x));
  return static_cast<double>(std::fabs((static_cast<long double>(fast_exp(x)) - want) / want));
}

TEST(FastExp, IsWithinItsBoundOnADenseSweep) {
  double worst = 0.0;
  float where = 0.0F;
  // Every 61st float of [2^-30, 88] and of [-87.3, -2^-30].
  for (const float sign : {1.0F, -1.0F}) {
    const auto last = std::bit_cast<std::uint32_t>(sign > 0 ? 88.0F : 87.3F);
    for (auto bits = std::bit_cast<std::uint32_t>(0x1p-30F); bits <= last; bits += 61) {
      const float x = sign * std::bit_cast<float>(bits);
      const double error = relative_error(x);
      if (error > worst) {
        worst = error;
        where = x;
      }
    }
  }
  EXPECT_LT(worst, 2e-7) << "at " << where;
  RecordProperty("worst", std::to_string(worst * 1e9) + "e-9");
}

TEST(FastExp, IsTightAroundEveryHalfStep) {  // where the rounding to a power of two changes
  for (int n = -125; n <= 126; ++n) {
    float x = (static_cast<float>(n) + 0.5F) * 0.693147181F;
    for (int i = 0; i < 20; ++i) x = std::nextafter(x, -kInf);
    for (int i = 0; i < 40; ++i, x = std::nextafter(x, kInf))
      EXPECT_LT(relative_error(x), 2e-7) << x;
  }
}

TEST(FastExp, Edges) {
  EXPECT_EQ(fast_exp(0.0F), 1.0F);
  EXPECT_EQ(fast_exp(-0.0F), 1.0F);
  EXPECT_EQ(fast_exp(std::numeric_limits<float>::denorm_min()), 1.0F);
  EXPECT_LT(relative_error(-87.3F), 2e-7);
  EXPECT_EQ(fast_exp(std::nextafter(-87.3F, -kInf)), 0.0F);
  EXPECT_EQ(fast_exp(-1000.0F), 0.0F);
  EXPECT_EQ(fast_exp(-std::numeric_limits<float>::max()), 0.0F);
  EXPECT_EQ(fast_exp(-kInf), 0.0F);
  EXPECT_LT(relative_error(88.0F), 2e-7);
  EXPECT_EQ(fast_exp(89.0F), fast_exp(88.0F));
  EXPECT_EQ(fast_exp(std::numeric_limits<float>::max()), fast_exp(88.0F));
  EXPECT_EQ(fast_exp(kInf), fast_exp(88.0F));
  EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(fast_exp(-std::numeric_limits<float>::quiet_NaN())));
}

// A lane of a vectorised loop has the bits of a call, wherever in the loop it is.
TEST(FastExp, VectorisedEqualsScalar) {
  std::vector<float> x = normals(1003, 1, 40.0);
  x[7] = kInf;
  x[8] = -kInf;
  x[500] = std::numeric_limits<float>::quiet_NaN();
  x[1001] = -87.31F;
  for (std::size_t begin = 0; begin < 9; ++begin) {
    std::vector<float> y = x;
    float* p = y.data();
#pragma omp simd
    for (std::size_t i = begin; i < 1003; ++i) p[i] = fast_exp(p[i]);
    for (std::size_t i = begin; i < 1003; ++i) {
      volatile float one = x[i];
      const float want = fast_exp(one);
      EXPECT_EQ(std::bit_cast<std::uint32_t>(y[i]), std::bit_cast<std::uint32_t>(want)) << x[i];
    }
  }
}

TEST(FastSigmoid, IsNearTheFormulaAndSaturates) {
  for (float x = -80.0F; x <= 80.0F; x += 0.37F) {
    const double want = 1.0 / (1.0 + std::exp(-static_cast<double>(x)));
    EXPECT_NEAR(fast_sigmoid(x), want, 3e-7 * want);
  }
  EXPECT_EQ(fast_sigmoid(kInf), 1.0F);
  EXPECT_LT(fast_sigmoid(-kInf), 1e-38F);
  EXPECT_TRUE(std::isnan(fast_sigmoid(std::nanf(""))));
}

// Every length around the lanes, at every alignment: the same bits, and near the sum in double.
TEST(RowSums, DoNotDependOnTheAddress) {
  const std::vector<float> x = normals(200, 1), y = normals(200, 2), z = normals(200, 3);
  std::vector<float> a(220), b(220), c(220);
  for (std::int64_t n = 0; n <= 131; ++n) {
    const float d2 = dot(x.data(), y.data(), n), d3 = dot3(x.data(), y.data(), z.data(), n);
    const float sum = row_sum(x.data(), n);
    double want2 = 0.0, want3 = 0.0, want = 0.0;
    float top = -kInf;
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      want += x[i];
      want2 += static_cast<double>(x[i]) * y[i];
      want3 += static_cast<double>(x[i]) * y[i] * z[i];
      top = std::max(top, x[i]);
    }
    EXPECT_NEAR(sum, want, 1e-5);
    EXPECT_NEAR(d2, want2, 1e-5);
    EXPECT_NEAR(d3, want3, 1e-5);
    if (n > 0) {
      EXPECT_EQ(row_max(x.data(), n), top);
    }
    for (std::size_t shift = 1; shift < 9; ++shift) {
      std::copy(x.begin(), x.end(), a.begin() + static_cast<std::ptrdiff_t>(shift));
      std::copy(y.begin(), y.end(), b.begin() + static_cast<std::ptrdiff_t>(shift % 3));
      std::copy(z.begin(), z.end(), c.begin() + static_cast<std::ptrdiff_t>(shift % 5));
      const float *as = a.data() + shift, *bs = b.data() + shift % 3, *cs = c.data() + shift % 5;
      EXPECT_EQ(row_sum(as, n), sum);
      EXPECT_EQ(dot(as, bs, n), d2);
      EXPECT_EQ(dot3(as, bs, cs, n), d3);
    }
  }
}

TEST(CountAbove, CountsEveryLaneAndTheRest) {
  for (std::int64_t n = 0; n <= 40; ++n) {
    std::vector<float> x = normals(n, 3);
    if (n > 5) x[5] = std::nanf("");
    for (const float sign : {1.0F, -1.0F}) {
      int want = 0;
      for (const float value : x) want += value * sign > 0.5F ? 1 : 0;
      EXPECT_EQ(count_above(x.data(), sign, 0.5F, n), want) << n;
      EXPECT_EQ(count_above(x.data(), sign, kInf, n), 0) << n;
    }
  }
}

}  // namespace
}  // namespace shoal::testing

#include "autograd/kernels/hadamard.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/base/rng.h"

namespace shoal::testing {
namespace {

std::vector<float> random_rows(std::int64_t n) {
  const Rng rng(5, Purpose::kTest);
  std::vector<float> x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
  return x;
}

// Sylvester's matrix by definition: entry (i, j) is -1 to the number of bits that i and j share.
TEST(Hadamard, EqualsTheMatrixAndItsOwnInverse) {
  for (std::int64_t D = 1; D <= 512; D *= 2) {
    const std::int64_t rows = 3;
    const std::vector<float> x = random_rows(rows * D);
    std::vector<float> y(x.size()), back(x.size()), in_place = x;
    hadamard(x.data(), rows, D, y.data());
    hadamard(y.data(), rows, D, back.data());
    hadamard(in_place.data(), rows, D, in_place.data());
    ASSERT_EQ(std::memcmp(in_place.data(), y.data(), y.size() * sizeof(float)), 0);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t j = 0; j < D; ++j) {
        double want = 0.0;
        for (std::int64_t i = 0; i < D; ++i) {
          const double sign = std::popcount(static_cast<std::uint64_t>(i & j)) % 2 == 0 ? 1 : -1;
          want += sign * double{x[static_cast<std::size_t>(r * D + i)]};
        }
        const auto at = static_cast<std::size_t>(r * D + j);
        ASSERT_NEAR(y[at], want / std::sqrt(static_cast<double>(D)), 2e-6) << D;
        ASSERT_NEAR(back[at], x[at], 2e-6) << D;
      }
    }
  }
}

TEST(Hadamard, WidthsThatAreNoPowerOfTwoAreRefused) {
  std::vector<float> x(48);
  EXPECT_THROW(hadamard(x.data(), 1, 48, x.data()), Error);
  EXPECT_FALSE(has_hadamard(0));
}

}  // namespace
}  // namespace shoal::testing

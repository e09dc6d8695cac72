#include "data/permutation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "autograd/base/check.h"

namespace shoal {
namespace {

Rng key(std::uint64_t step) { return Rng(9, Purpose::kTest, step); }

TEST(KeyedPermutation, IsABijectionOfEverySmallRange) {
  for (std::int64_t n = 1; n <= 200; ++n) {
    for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
      const KeyedPermutation permutation(n, key(epoch));
      std::vector<int> seen(static_cast<std::size_t>(n));
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t value = permutation(i);
        ASSERT_GE(value, 0);
        ASSERT_LT(value, n);
        ++seen[static_cast<std::size_t>(value)];
      }
      ASSERT_EQ(seen, std::vector<int>(static_cast<std::size_t>(n), 1)) << n;
    }
  }
}

TEST(KeyedPermutation, ReachesEveryPlaceFromEveryPlaceAboutEvenly) {
  for (const std::int64_t n : {2, 3, 5, 16, 17}) {
    constexpr int kKeys = 20000;
    std::vector<int> count(static_cast<std::size_t>(n * n));
    for (std::uint64_t epoch = 0; epoch < kKeys; ++epoch) {
      const KeyedPermutation permutation(n, key(epoch));
      for (std::int64_t i = 0; i < n; ++i)
        ++count[static_cast<std::size_t>(i * n + permutation(i))];
    }
    // Five standard deviations of a binomial count.
    const double p = 1.0 / static_cast<double>(n);
    const double allowed = 5.0 * std::sqrt(kKeys * p * (1.0 - p));
    for (const int c : count) EXPECT_NEAR(c, kKeys * p, allowed) << n;
  }
}

TEST(KeyedPermutation, AnotherKeyIsAnotherOrder) {
  const KeyedPermutation a(1000, key(0)), b(1000, key(1));
  int fixed = 0, equal = 0;
  for (std::int64_t i = 0; i < 1000; ++i) {
    fixed += a(i) == i;
    equal += a(i) == b(i);
  }
  EXPECT_LT(fixed, 10);
  EXPECT_LT(equal, 10);
}

TEST(KeyedPermutation, WorksOnRangesThatNoMemoryHolds) {
  const std::int64_t n = (std::int64_t{1} << 61) + 12345;
  const KeyedPermutation permutation(n, key(0));
  for (std::int64_t i = 0; i < 1000; ++i) {
    EXPECT_LT(permutation(i), n);
    EXPECT_NE(permutation(i), permutation(n - 1 - i));
  }
  EXPECT_THROW(KeyedPermutation(0, key(0)), Error);
}

}  // namespace
}  // namespace shoal

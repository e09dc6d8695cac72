#include "autograd/base/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace shoal {
namespace {

TEST(Rng, DependsOnEveryPartOfTheKey) {
  const Rng base(1, Purpose::kInit, 0);
  std::set<std::uint64_t> seen;
  for (const Rng& rng : {base, Rng(2, Purpose::kInit, 0), Rng(1, Purpose::kDataOrder, 0),
                         Rng(1, Purpose::kInit, 1)}) {
    for (std::uint64_t i = 0; i < 1000; ++i) seen.insert(rng.bits(i));
  }
  EXPECT_EQ(seen.size(), 4000U);
  EXPECT_EQ(base.bits(7), Rng(1, Purpose::kInit, 0).bits(7));
}

TEST(Rng, NormalHasItsMoments) {
  const Rng rng(3, Purpose::kTest);
  constexpr int kCount = 200000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = rng.normal(static_cast<std::uint64_t>(i));
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.01);
  EXPECT_NEAR(squares / kCount, 1.0, 0.02);
  EXPECT_NEAR(fourth / kCount, 3.0, 0.1);
}

TEST(Rng, BelowCoversItsRangeEvenly) {
  const Rng rng(5, Purpose::kTest);
  std::array<int, 7> count{};
  for (std::uint64_t i = 0; i < 70000; ++i) ++count[rng.below(i, 7)];
  for (const int c : count) EXPECT_NEAR(c, 10000, 400);
}

}  // namespace
}  // namespace shoal

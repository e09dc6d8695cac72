#include "layers/moe/hash_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace shoal {
namespace {

std::vector<std::int32_t> table(const std::vector<std::int64_t>& counts, std::int64_t V,
                                std::int64_t E, std::int64_t K, std::uint64_t seed,
                                std::int64_t layer) {
  std::vector<std::int32_t> t(static_cast<std::size_t>(V * K), -1);
  fill_balanced_table(counts, V, E, K, seed, layer, t.data());
  return t;
}

// Token v occurs about 1 / (v + 10) of the time: skewed, but no token alone exceeds a fair share.
std::vector<std::int64_t> skewed(std::int64_t V) {
  std::vector<std::int64_t> counts;
  for (std::int64_t v = 0; v < V; ++v) counts.push_back(1000000 / (v + 10));
  return counts;
}

std::vector<double> loads(const std::vector<std::int32_t>& t,
                          const std::vector<std::int64_t>& counts, std::int64_t E, std::int64_t K) {
  std::vector<double> load(static_cast<std::size_t>(E), 0.0);
  for (std::size_t i = 0; i < t.size(); ++i) {
    load[static_cast<std::size_t>(t[i])] +=
        static_cast<double>(counts[i / static_cast<std::size_t>(K)]);
  }
  return load;
}

TEST(HashTable, RowsHoldDistinctExperts) {
  for (const auto [V, E, K] :
       {std::array<std::int64_t, 3>{258, 16, 2}, std::array<std::int64_t, 3>{50, 5, 5},
        std::array<std::int64_t, 3>{7, 9, 1}, std::array<std::int64_t, 3>{1000, 32, 6}}) {
    for (const auto& counts : {std::vector<std::int64_t>{}, skewed(V)}) {
      const auto t = table(counts, V, E, K, 1, 0);
      for (std::int64_t v = 0; v < V; ++v) {
        const std::set<std::int32_t> row(t.begin() + v * K, t.begin() + (v + 1) * K);
        EXPECT_EQ(row.size(), static_cast<std::size_t>(K));
        EXPECT_GE(*row.begin(), 0);
        EXPECT_LT(*row.rbegin(), E);
      }
    }
  }
}

TEST(HashTable, LoadsAreBalanced) {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const std::vector<std::int64_t> counts = skewed(258);
    const std::vector<double> load = loads(table(counts, 258, 16, 2, seed, 0), counts, 16, 2);
    const auto [low, high] = std::minmax_element(load.begin(), load.end());
    EXPECT_LT(*high / *low, 1.02) << *low << " to " << *high;
  }
  const std::vector<std::int64_t> ones(258, 1);
  const std::vector<double> load = loads(table({}, 258, 16, 2, 1, 0), ones, 16, 2);
  const auto [low, high] = std::minmax_element(load.begin(), load.end());
  EXPECT_LE(*high - *low, 1.0);
}

// One token above a fair share cannot be balanced; the others are, around it.
TEST(HashTable, AVeryFrequentTokenIsAccepted) {
  std::vector<std::int64_t> counts(100, 10);
  counts[42] = 100000;
  const auto t = table(counts, 100, 8, 2, 1, 0);
  const std::vector<double> load = loads(t, counts, 8, 2);
  for (std::int32_t e = 0; e < 8; ++e) {
    const bool heavy = t[84] == e || t[85] == e;
    EXPECT_EQ(load[static_cast<std::size_t>(e)] >= 100000, heavy);
    if (!heavy) {
      EXPECT_NEAR(load[static_cast<std::size_t>(e)], 99 * 10 * 2 / 6.0, 20.0);
    }
  }
}

// A token that the corpus lacks is spread too, not all of them onto one expert.
TEST(HashTable, AbsentTokensAreSpread) {
  const std::vector<std::int64_t> counts(120, 0), ones(120, 1);
  const std::vector<double> load = loads(table(counts, 120, 6, 1, 1, 0), ones, 6, 1);
  for (const double n : load) EXPECT_EQ(n, 20.0);
}

TEST(HashTable, LayersAndSeedsDiffer) {
  const std::vector<std::int64_t> counts = skewed(258);
  const auto base = table(counts, 258, 16, 2, 1, 0);
  EXPECT_EQ(table(counts, 258, 16, 2, 1, 0), base);
  for (const auto& other : {table(counts, 258, 16, 2, 1, 1), table(counts, 258, 16, 2, 2, 0)}) {
    std::size_t same = 0;
    for (std::size_t i = 0; i < base.size(); ++i) same += base[i] == other[i] ? 1U : 0U;
    EXPECT_LT(same, base.size() / 4);  // by chance: one of 16
  }
}

}  // namespace
}  // namespace shoal

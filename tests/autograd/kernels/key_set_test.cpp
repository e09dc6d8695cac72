#include "autograd/kernels/key_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "autograd/kernels/gemm.h"
#include "tests/optim/testing.h"

namespace shoal::testing {
namespace {

constexpr std::int64_t N = 29, M = 41, D = 19, kPer = 5, kSlots = 16;

// Three documents; the rows of the second one see nothing at first.
struct Keys {
  std::vector<float> keys = normals(M * D, 1);
  std::vector<std::int32_t> begin, count, chosen;

  Keys() {
    for (std::int32_t n = 0; n < N; ++n) {
      begin.push_back(n < 11 ? 0 : n < 20 ? 12 : 25);
      count.push_back(n < 11 ? n + 1 : n < 20 ? (n - 11) / 2 : 8 + (n - 20));
      for (std::int32_t i = 0; i < kSlots; ++i) {
        chosen.push_back(i < count.back() ? begin.back() + i : -1);
      }
    }
  }
  KeySet ranges() const { return {keys.data(), D, begin.data(), count.data(), nullptr, 0}; }
  // The same keys as lists.
  KeySet lists() const {
    return {keys.data(), D, begin.data(), count.data(), chosen.data(), kSlots};
  }
};

// All that a set computes, row by row and with the columns that hold nothing left out.
struct Computed {
  std::vector<float> scores, values, sums;
  bool operator==(const Computed& other) const {
    const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0;
    };
    return same(scores, other.scores) && same(values, other.values) && same(sums, other.sums);
  }
};

// rows(i): how many rows the block from row i on has.
Computed compute(const KeySet& set, const std::function<std::int64_t(std::int64_t)>& rows) {
  constexpr std::int64_t kFrom = 2, kTake = 3;
  const std::vector<float> a = normals(N * kPer * D, 2);
  Computed out;
  out.values = normals(N * kTake * D, 3);  // added to
  out.sums.assign(M * D, 0.0F);
  for (std::int64_t n0 = 0; n0 < N;) {
    const std::int64_t n1 = std::min(N, n0 + rows(n0)), queries = n1 - n0;
    const KeyBlock block(set, n0, n1);
    const std::int64_t ld = block.width() + 3;
    std::vector<float> tile(static_cast<std::size_t>(queries * kPer * ld), 0.0F);
    block.scores(kPer, a.data() + n0 * kPer * D, tile.data(), ld);
    // Now numbers of their own for the columns that a row sees, zeros elsewhere.
    for (std::int64_t n = n0; n < n1; ++n) {
      const KeyBlock::Columns c = block.columns(n);
      for (std::int64_t r = 0; r < kPer; ++r) {
        float* row = tile.data() + ((n - n0) * kPer + r) * ld;
        out.scores.insert(out.scores.end(), row + c.begin, row + c.end);
        for (std::int64_t j = 0; j < ld; ++j) {
          row[j] = j >= c.begin && j < c.end ? row[j] * 0.37F + 0.1F : 0.0F;
        }
      }
    }
    block.values(kPer, kFrom, kTake, tile.data(), ld, out.values.data() + n0 * kTake * D, true);
    block.add_to_keys(kPer, tile.data(), ld, a.data() + n0 * kPer * D, out.sums.data(), 0);
    n0 = n1;
  }
  return out;
}

const auto kAllRows = [](std::int64_t) { return N; };

class KeySetTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override { use_wide_gemm(GetParam()); }
  void TearDown() override { use_wide_gemm(true); }
};

TEST_P(KeySetTest, RangesAndListsOfAllAndAnyCutGiveTheSameBits) {
  const Keys keys;
  const Computed want = compute(keys.ranges(), kAllRows);
  for (const std::int64_t rows : {1, 2, 3, 7, 28}) {
    const Computed got = compute(keys.ranges(), [=](std::int64_t) { return rows; });
    EXPECT_EQ(got.scores, want.scores) << rows;
    EXPECT_EQ(got.values, want.values) << rows;
    EXPECT_TRUE(got == want) << rows;
  }
  EXPECT_TRUE(compute(keys.ranges(), [](std::int64_t n) { return 1 + n % 4; }) == want);
  for (const std::int64_t rows : {1, 4, 29}) {
    const Computed got = compute(keys.lists(), [=](std::int64_t) { return rows; });
    EXPECT_EQ(got.scores, want.scores) << rows;
    EXPECT_EQ(got.values, want.values) << rows;
  }
}

// What the numbers are: plain sums in double.
TEST_P(KeySetTest, EqualsPlainSums) {
  Keys keys;
  const std::vector<float> a = normals(N * kPer * D, 2);
  for (const bool lists : {false, true}) {
    const KeySet set = lists ? keys.lists() : keys.ranges();
    const Computed got = compute(set, [](std::int64_t) { return 6; });
    std::vector<double> values, sums(M * D, 0.0);
    for (const float v : normals(N * 3 * D, 3)) values.push_back(static_cast<double>(v));
    std::size_t at = 0;
    for (std::int64_t n = 0; n < N; ++n) {
      const auto row = static_cast<std::size_t>(n);
      for (std::int64_t r = 0; r < kPer; ++r) {
        for (std::int64_t j = 0; j < keys.count[row]; ++j) {
          const std::int64_t key = keys.begin[row] + j;
          double z = 0.0;
          for (std::int64_t d = 0; d < D; ++d) {
            z += static_cast<double>(a[static_cast<std::size_t>((n * kPer + r) * D + d)]) *
                 static_cast<double>(keys.keys[static_cast<std::size_t>(key * D + d)]);
          }
          ASSERT_NEAR(got.scores[at++], z, 1e-5);
          const double weight = z * 0.37 + 0.1;
          for (std::int64_t d = 0; d < D; ++d) {
            sums[static_cast<std::size_t>(key * D + d)] +=
                weight * static_cast<double>(a[static_cast<std::size_t>((n * kPer + r) * D + d)]);
            if (r < 2) continue;
            values[static_cast<std::size_t>((n * 3 + r - 2) * D + d)] +=
                weight * static_cast<double>(keys.keys[static_cast<std::size_t>(key * D + d)]);
          }
        }
      }
    }
    ASSERT_EQ(at, got.scores.size());
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(got.values[i], values[i], 1e-4);
    for (std::size_t i = 0; i < sums.size(); ++i) ASSERT_NEAR(got.sums[i], sums[i], 3e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, KeySetTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Wide" : "Generic"; });

TEST(KeySet, SpansNameTheKeysThatAnyRowSees) {
  const Keys keys;
  const auto span = [&](std::int64_t n0, std::int64_t n1) {
    const KeySpan s = key_span(keys.ranges(), n0, n1);
    return std::pair(s.begin, s.end);
  };
  EXPECT_EQ(span(0, 1), std::pair(std::int64_t{0}, std::int64_t{1}));
  EXPECT_EQ(span(0, N), std::pair(std::int64_t{0}, M));
  EXPECT_EQ(span(11, 12), std::pair(std::int64_t{12}, std::int64_t{12}));  // sees nothing
  EXPECT_EQ(span(10, 14), std::pair(std::int64_t{0}, std::int64_t{13}));
}

TEST(KeySet, SumsOfRowsAreChains) {
  for (const std::int64_t count : {1, 7, 8, 9, 21}) {
    constexpr std::int64_t n = 37, ld = 40;
    const std::vector<float> x = normals(count * ld, 6);
    std::vector<float> sums(static_cast<std::size_t>(count));
    sum_rows(x.data(), ld, count, n, sums.data());
    for (std::int64_t r = 0; r < count; ++r) {
      float sum = 0.0F;
      for (std::int64_t j = 0; j < n; ++j) sum += x[static_cast<std::size_t>(r * ld + j)];
      EXPECT_EQ(sums[static_cast<std::size_t>(r)], sum);
    }
  }
}

}  // namespace
}  // namespace shoal::testing

#include "layers/decode/row_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "autograd/base/rng.h"

namespace shoal {
namespace {

TEST(RowStore, HoldsWhatADequeWouldHold) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Rng rng(seed, Purpose::kTest);
    RowStore store(3);
    std::deque<float> expected;
    float next = 0.0F;
    std::uint64_t draw = 0;
    for (int round = 0; round < 200; ++round) {
      const auto n = static_cast<std::int64_t>(rng.below(draw++, round % 50 == 0 ? 90 : 4));
      float* to = store.append(n);
      for (std::int64_t i = 0; i < 3 * n; ++i) expected.push_back(to[i] = next++);
      if (seed % 2 == 0) {
        const auto keep = static_cast<std::int64_t>(rng.below(draw++, 30));
        store.keep_last(keep);
        while (expected.size() > static_cast<std::size_t>(3 * keep)) expected.pop_front();
      }
      const Tensor t = store.tensor();
      ASSERT_EQ(3 * store.rows(), static_cast<std::int64_t>(expected.size()));
      ASSERT_EQ(store.bytes(), expected.size() * sizeof(float));
      ASSERT_EQ(static_cast<bool>(t), !expected.empty());
      ASSERT_TRUE(expected.empty() || std::equal(expected.begin(), expected.end(), t.as<float>()));
    }
  }
}

TEST(RowStore, RowsWithinTheReserveStayWhereTheyAre) {
  RowStore store(5);
  store.reserve(1000);
  const float* first = store.append(1);
  for (int i = 1; i < 1000; ++i) store.append(1);
  EXPECT_EQ(store.tensor().as<float>(), first);
  store.append(1);
  EXPECT_EQ(store.rows(), 1001);
}

// A window that slides: its memory has a fixed size, and few appends move rows.
TEST(RowStore, AWindowMovesSeldom) {
  RowStore store(2);
  int moves = 0;
  const float *low = nullptr, *high = nullptr, *before = nullptr;
  for (int i = 0; i < 10000; ++i) {
    const float* end = store.append(1);
    moves += end < before ? 1 : 0;
    before = end;
    if (i == 1000) low = high = end;
    if (i >= 1000) {
      low = std::min(low, end);
      high = std::max(high, end);
    }
    store.keep_last(63);
  }
  EXPECT_LE(high - low, 2 * 256);
  EXPECT_LE(moves, 10000 / 60);
}

}  // namespace
}  // namespace shoal

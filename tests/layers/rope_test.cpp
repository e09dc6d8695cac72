#include "layers/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace shoal {
namespace {

// The table of spec 2.3: base 160000, YaRN 16 from 65536, 64 rotary values.
TEST(Rope, YarnTable) {
  RopeConfig rope;
  rope.theta = 160000.0;
  rope.yarn = true;
  rope.factor = 16.0;
  const std::vector<double> w = rope_frequencies(rope, 32);
  const std::map<std::size_t, double> want{{0, 1.0},        {15, 3.6355e-3}, {16, 2.2656e-3},
                                           {20, 2.9698e-4}, {24, 1.9531e-5}, {25, 5.3723e-6},
                                           {31, 5.6805e-7}};
  for (const auto& [i, value] : want) EXPECT_NEAR(w[i], value, 5e-5 * value) << i;
  // low = 15: up to there nothing is stretched; high = 25: from there all of it is.
  for (std::size_t i = 0; i < 32; ++i) {
    const double plain = std::pow(160000.0, -2.0 * static_cast<double>(i) / 64.0);
    if (i <= 15) {
      EXPECT_DOUBLE_EQ(w[i], plain);
    }
    if (i >= 25) {
      EXPECT_DOUBLE_EQ(w[i], plain / 16.0);
    }
    if (i > 15 && i < 25) {
      EXPECT_TRUE(w[i] < plain && w[i] > plain / 16.0) << i;
    }
  }
}

TEST(Rope, PlainTable) {
  const std::vector<double> w = rope_frequencies({}, 4);
  const std::vector<double> want{1.0, 0.1, 0.01, 0.001};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(w[i], want[i], 1e-15);
}

// Where both ends of the ramp fall together, the pairs behind are stretched in full.
TEST(Rope, YarnWithARampOfNoWidth) {
  RopeConfig rope;
  rope.yarn = true;
  rope.factor = 4.0;
  rope.original_max_position_embeddings = 1;  // every pair turns less than once
  const std::vector<double> w = rope_frequencies(rope, 4);
  EXPECT_DOUBLE_EQ(w[0], 1.0);
  EXPECT_DOUBLE_EQ(w[1], std::pow(10000.0, -0.25) / 4.0);
}

TEST(Rope, GrownTablesKeepTheirValues) {
  RopeTableStorage storage({}, 3);
  storage.grow(5);
  const std::vector<float> before(storage.table().cos_sin, storage.table().cos_sin + 5 * 6);
  storage.grow(2000);
  storage.grow(7);
  const RopeTable table = storage.table();
  EXPECT_EQ(table.positions, 2000);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), table.cos_sin));
  const std::vector<double> w = rope_frequencies({}, 3);
  for (const std::int64_t p : {0, 4, 5, 1999}) {
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(table.at(p)[2 * i], static_cast<float>(std::cos(static_cast<double>(p) * w[i])));
      EXPECT_EQ(table.at(p)[2 * i + 1],
                static_cast<float>(std::sin(static_cast<double>(p) * w[i])));
    }
  }
}

// There and back again.
TEST(Rope, InverseTurnsBack) {
  RopeTableStorage storage({}, 3);
  storage.grow(100);
  std::vector<float> v{1, 2, 3, 4, 5, 6};
  rotate_pairs(v.data(), storage.table().at(77), 3, 1.0F);
  EXPECT_GT(std::abs(v[0] - 1.0F), 0.1F);
  rotate_pairs(v.data(), storage.table().at(77), 3, -1.0F);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(v[i], static_cast<float>(i + 1), 1e-6);
}

}  // namespace
}  // namespace shoal

#include "optim/clip.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/check.h"
#include "tests/optim/testing.h"

namespace shoal {
namespace {

ParamSlice slice(const std::string& name, std::int64_t offset, std::int64_t size,
                 bool clipped = true) {
  return {.name = name, .offset = offset, .size = size, .shape = {size}, .clipped = clipped};
}

TEST(Measure, NormLeavesUnclippedSlicesOut) {
  std::vector<float> grads{3, 100, 100, 4, 0};
  const std::vector<ParamSlice> slices{slice("b", 0, 1), slice("indexer", 1, 2, false),
                                       slice("a", 3, 2)};
  const GradHealth health = measure(grads, slices);
  EXPECT_TRUE(health.finite);
  EXPECT_EQ(health.first_bad, "");
  EXPECT_EQ(health.norm, 5.0);
}

TEST(Measure, NamesTheFirstBadTensorWhereverItIs) {
  const std::vector<ParamSlice> slices{slice("z", 0, 70000), slice("m", 70000, 70000, false),
                                       slice("a", 140000, 10)};
  for (const float bad : {NAN, INFINITY, -INFINITY, 2e18F, -2e18F}) {
    for (const std::size_t at : {0U, 65535U, 65536U, 69999U}) {
      std::vector<float> grads(140010, 1.0F);
      grads[at] = bad;
      EXPECT_EQ(measure(grads, slices).first_bad, "z") << bad << " at " << at;
      EXPECT_FALSE(measure(grads, slices).finite);
    }
    std::vector<float> grads(140010, 1.0F);
    grads[140009] = bad;
    EXPECT_EQ(measure(grads, slices).first_bad, "a");
    grads[70000] = bad;  // unclipped slices must be finite too
    EXPECT_EQ(measure(grads, slices).first_bad, "m");
  }
  const std::vector<float> large(140010, 1e18F);
  EXPECT_TRUE(measure(large, slices).finite);
}

TEST(Measure, NeitherOverflowsNorLosesSmallOnes) {
  const std::vector<ParamSlice> slices{slice("a", 0, 100000)};
  EXPECT_NEAR(measure(std::vector<float>(100000, 1e17F), slices).norm / 1e17, std::sqrt(1e5), 1e-3);
  EXPECT_NEAR(measure(std::vector<float>(100000, 1e-30F), slices).norm / 1e-30, std::sqrt(1e5),
              1e-3);
}

TEST(Measure, BitsDependOnNeitherThreadsNorSliceOrder) {
  const std::vector<float> grads = testing::normals(300000, 7);
  std::vector<ParamSlice> slices;
  std::int64_t offset = 0;
  for (int i = 0; i < 101; ++i) {
    const std::int64_t size = i == 50 ? 150000 : 1 + 13 * i;
    slices.push_back(slice(concat("p", i * 79 % 101), offset, size));
    offset += size;
  }
  ASSERT_LE(offset, 300000);
  const double want = measure(grads, slices).norm;
  double squares = 0.0;
  for (std::int64_t i = 0; i < offset; ++i) {
    squares += std::pow(static_cast<double>(grads[static_cast<std::size_t>(i)]), 2);
  }
  EXPECT_NEAR(want, std::sqrt(squares), 1e-10 * want);
  testing::for_thread_counts([&](int) { EXPECT_EQ(measure(grads, slices).norm, want); });
  for (int i = 0; i < 20; ++i) {
    std::rotate(slices.begin(), slices.begin() + 17, slices.end());
    EXPECT_EQ(measure(grads, slices).norm, want);
  }
}

TEST(Measure, RefusesASliceOutsideOfTheBuffer) {
  EXPECT_THROW(measure(std::vector<float>(5), {slice("a", 2, 4)}), Error);
}

TEST(ClipScale, OnlyShrinks) {
  EXPECT_EQ(clip_scale(0.5, 1.0), 1.0F);
  EXPECT_EQ(clip_scale(1.0, 1.0), 1.0F);
  EXPECT_EQ(clip_scale(4.0, 1.0), 0.25F);
  EXPECT_EQ(clip_scale(4.0, 0.0), 1.0F);
  EXPECT_EQ(clip_scale(0.0, 1.0), 1.0F);
}

}  // namespace
}  // namespace shoal

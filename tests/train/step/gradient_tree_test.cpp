#include "train/step/gradient_tree.h"

#include <gtest/gtest.h>

#include <map>

namespace shoal {
namespace {

// Numbers whose sum depends on the order of additions.
float leaf(std::int64_t i) {
  const float values[] = {1e8F, 1.0F, -1e8F, 3.5F, 1e-3F, 7e7F, -6.9e7F, 0.1F};
  return values[i];
}

// Each tree written out by hand.
const std::map<std::int64_t, float>& by_hand() {
  const auto x = [](std::int64_t i) { return leaf(i); };
  static const std::map<std::int64_t, float> sums{
      {1, x(0)},
      {2, x(0) + x(1)},
      {3, (x(0) + x(1)) + x(2)},
      {5, ((x(0) + x(1)) + x(2)) + (x(3) + x(4))},
      {8, ((x(0) + x(1)) + (x(2) + x(3))) + ((x(4) + x(5)) + (x(6) + x(7)))}};
  return sums;
}

TEST(GradientTree, AddsInTheOrderOfItsTree) {
  for (const auto& [n, want] : by_hand()) {
    ParamStore store;
    ModelParam& a = store.add({.name = "a", .shape = {3}, .role = ParamRole::kHead});
    ModelParam& unreached = store.add({.name = "b", .shape = {40}, .role = ParamRole::kHead});
    store.allocate();
    GradientTree tree(store, n);
    std::vector<std::int64_t> order;
    for (int round = 0; round < 2; ++round) {
      order.clear();
      const bool done = tree.accumulate([&](std::int64_t i) {
        order.push_back(i);
        std::fill_n(unreached.grad.as<float>(), 40, 99.0F);  // what an earlier step left there
        std::fill_n(a.grad.as<float>(), 3, leaf(i));
        a.grad_written = true;
        return true;
      });
      EXPECT_TRUE(done);
      for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(tree.gradients()[i], want) << n;
      for (std::size_t i = 0; i < 40; ++i) {
        EXPECT_EQ(tree.gradients()[static_cast<std::size_t>(unreached.offset) + i], 0.0F);
      }
    }
    std::vector<std::int64_t> every;
    std::vector<float> leaves;
    for (std::int64_t i = 0; i < n; ++i) {
      every.push_back(i);
      leaves.push_back(leaf(i));
    }
    EXPECT_EQ(order, every);
    EXPECT_EQ(tree_sum(leaves, 0, leaves.size()), want);
  }
}

TEST(GradientTree, LevelsAreTheDepthOfTheTree) {
  const std::map<std::int64_t, std::int64_t> want{{1, 1}, {2, 2}, {3, 3}, {4, 3},
                                                  {5, 4}, {8, 4}, {9, 5}, {64, 7}};
  for (const auto& [n, levels] : want) EXPECT_EQ(GradientTree::levels(n), levels) << n;
}

TEST(GradientTree, StopsWhenARunGivesUp) {
  ParamStore store;
  store.add({.name = "a", .shape = {3}, .role = ParamRole::kHead});
  store.allocate();
  GradientTree tree(store, 5);
  std::int64_t last = -1;
  EXPECT_FALSE(tree.accumulate([&](std::int64_t i) { return (last = i) < 3; }));
  EXPECT_EQ(last, 3);
}

}  // namespace
}  // namespace shoal

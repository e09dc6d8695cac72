#include "train/report/axis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace shoal {
namespace {

std::string labels(const Axis& axis, int count) {
  std::string out;
  for (const Tick& t : ticks(axis, count)) out += t.label + ' ';
  return out;
}

TEST(Axis, LinearTicksAreRound) {
  EXPECT_EQ(labels({0, 500}, 6), "0 100 200 300 400 500 ");
  EXPECT_EQ(labels({1.1, 3.2}, 5), "1.5 2.0 2.5 3.0 ");
  EXPECT_EQ(labels({0, 1e-3}, 5), "0 2e-4 4e-4 6e-4 8e-4 1e-3 ");
  EXPECT_EQ(labels({-1, 1}, 4), "-1.0 -0.5 0 0.5 1.0 ");
  EXPECT_EQ(labels({0, 2.5e6}, 5), "0 500k 1M 1.5M 2M 2.5M ");
  EXPECT_EQ(labels({1.0, 1.0004}, 4), "1.0000 1.0001 1.0002 1.0003 1.0004 ");
}

TEST(Axis, LogTicksArePowersOfTenAndMoreWhereThereIsRoom) {
  EXPECT_EQ(labels({1e-5, 10, true}, 5), "1e-5 1e-4 0.001 0.01 0.1 1 10 ");
  EXPECT_EQ(labels({1.1, 6.2, true}, 5), "1.5 2 3 4 6 ");
  EXPECT_EQ(labels({0.4, 9, true}, 5), "0.5 1 2 5 ");
  EXPECT_LE(ticks({1e-30, 1e30, true}, 5).size(), 10U);
}

TEST(Axis, TicksLieInsideForAnyRange) {
  for (const bool log : {false, true}) {
    for (const double low : {1e-30, 1e-7, 0.3, 12.0, 99999.0, 1e29}) {
      for (const double factor : {1.0 + 1e-9, 1.01, 3.0, 1e4, 1e20}) {
        const Axis axis = axis_over({low, low * factor}, log);
        ASSERT_LT(axis.low, axis.high);
        EXPECT_LE(axis.low, low);
        const auto all = ticks(axis, 5);
        EXPECT_LE(all.size(), 20U) << low << ' ' << factor;
        for (const Tick& t : all) {
          EXPECT_GE(axis.place(t.value), -1e-6);
          EXPECT_LE(axis.place(t.value), 1 + 1e-6);
        }
      }
    }
  }
}

TEST(Axis, WhatCannotBeDrawnDoesNotCount) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const Axis axis = axis_over({nan, 1.0, inf, 3.0, -inf, 1e308}, false);
  EXPECT_NEAR(axis.low, 0.9, 1e-12);
  EXPECT_NEAR(axis.high, 3.1, 1e-12);
  EXPECT_GT(axis_over({0.0, -1.0, 2.0, 8.0}, true).low, 1.0);
  EXPECT_EQ(axis_over({nan}, false).high, 1.0);
  EXPECT_EQ(axis_over({}, true).high, 1.0);
  EXPECT_LT(axis_over({5.0}, false).low, 5.0);
  EXPECT_EQ(axis_over({0.0, 10.0}, false).low, 0.0);  // zero is a natural end
}

}  // namespace
}  // namespace shoal

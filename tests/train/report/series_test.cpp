#include "train/report/series.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace shoal {
namespace {

Series ramp(std::size_t n) {
  Series s{"ramp", {}, {}};
  for (std::size_t i = 0; i < n; ++i) {
    s.x.push_back(static_cast<double>(i));
    s.y.push_back(static_cast<double>(i % 7));
  }
  return s;
}

TEST(Series, ShortOnesAreNotThinned) { EXPECT_EQ(thinned(ramp(1500)).y, ramp(1500).y); }

TEST(Series, ThinningKeepsEndsSpikesAndGaps) {
  Series s = ramp(100000);
  s.y[40321] = 1e6;
  s.y[70007] = -5.0;
  s.y[99000] = std::nan("");
  const Series t = thinned(s);
  EXPECT_LE(t.x.size(), kMostPoints);
  EXPECT_GT(t.x.size(), kMostPoints / 2);
  EXPECT_TRUE(std::is_sorted(t.x.begin(), t.x.end()));
  EXPECT_EQ(t.x.front(), 0.0);
  EXPECT_EQ(t.x.back(), 99999.0);
  const auto y_at = [&](double x) {
    const auto i = std::find(t.x.begin(), t.x.end(), x) - t.x.begin();
    return i < static_cast<std::ptrdiff_t>(t.x.size()) ? t.y[static_cast<std::size_t>(i)] : -99.0;
  };
  EXPECT_EQ(y_at(40321), 1e6);
  EXPECT_EQ(y_at(70007), -5.0);
  EXPECT_TRUE(std::isnan(y_at(99000)));
}

TEST(Series, SmoothingIgnoresASpikeAndFollowsTheCourse) {
  Series s{"noisy", {}, {}};
  for (int i = 0; i < 20000; ++i) {
    s.x.push_back(i);
    s.y.push_back(i * 0.001 + (i % 2 == 0 ? 0.5 : -0.5));
  }
  s.y[12345] = 1e9;
  const Series t = smoothed(s);
  ASSERT_EQ(t.x.size(), kMostCenters);
  EXPECT_EQ(t.x.front(), 0.0);
  EXPECT_EQ(t.x.back(), 19999.0);
  for (std::size_t i = 0; i < t.x.size(); ++i) EXPECT_NEAR(t.y[i], t.x[i] * 0.001, 0.8) << i;
  EXPECT_EQ(smoothed(ramp(50)).y, ramp(50).y);
}

Series of(std::size_t n, const std::function<double(std::size_t)>& y) {
  Series s{"by hand", {}, {}};
  for (std::size_t i = 0; i < n; ++i) {
    s.x.push_back(static_cast<double>(i + 1));
    s.y.push_back(y(i));
  }
  return s;
}

// A line stays itself up to its last point: looking back would lag behind it.
TEST(Series, SmoothingEndsWhereTheSeriesEnds) {
  for (const std::size_t n : {80U, 81U, 100U, 161U, 600U, 5000U, 100000U}) {
    SCOPED_TRACE(n);
    const auto falling = [&](std::size_t i) {
      return 6.0 - 5.0 * static_cast<double>(i) / static_cast<double>(n - 1);
    };
    const Series t = smoothed(of(n, falling));
    for (std::size_t c = 0; c < t.x.size(); ++c) {
      EXPECT_NEAR(t.y[c], falling(static_cast<std::size_t>(t.x[c]) - 1), 1e-12) << c;
    }
    EXPECT_EQ(t.y.back(), 1.0);
  }
  const Series drop = smoothed(of(100, [](std::size_t i) { return i < 99 ? 1.519 : 1.166; }));
  EXPECT_EQ(drop.y.back(), 1.166);
}

// A weighted part of the loss where its weight changes, in the middle and shortly before the end:
// every point of the course lies among the values of its own side.
TEST(Series, SmoothingKeepsAJump) {
  for (const std::size_t at : {50U, 500U, 985U, 997U, 999U}) {
    const Series t = smoothed(of(1000, [&](std::size_t i) {
      return (i < at ? 0.3 : 0.1) * (2.0 + (i % 3 == 0 ? 0.5 : i % 3 == 1 ? -0.5 : 0.0));
    }));
    for (std::size_t c = 0; c < t.x.size(); ++c) {
      const double weight = t.x[c] <= static_cast<double>(at) ? 0.3 : 0.1;
      EXPECT_GE(t.y[c], weight * 1.5 - 1e-12) << at << " at " << t.x[c];
      EXPECT_LE(t.y[c], weight * 2.5 + 1e-12) << at << " at " << t.x[c];
    }
  }
}

TEST(Series, SmoothingLeavesGapsOut) {
  Series s = of(400, [](std::size_t i) { return static_cast<double>(i); });
  s.y[200] = s.y[203] = std::nan("");
  const Series t = smoothed(s);
  EXPECT_TRUE(std::isnan(t.y[200]));
  for (const std::size_t i : {198U, 199U, 201U, 202U, 204U}) {
    EXPECT_NEAR(t.y[i], s.y[i], 1.0) << i;
  }
}

}  // namespace
}  // namespace shoal

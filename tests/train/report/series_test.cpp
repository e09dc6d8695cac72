#include "train/report/series.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

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

}  // namespace
}  // namespace shoal

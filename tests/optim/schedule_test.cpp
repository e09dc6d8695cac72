#include "optim/schedule.h"

#include <gtest/gtest.h>

#include "autograd/base/check.h"

namespace shoal {
namespace {

ScheduleConfig plain() {
  return {.lr = 1.0, .end_lr = 0.1, .warmup_steps = 10, .decay_share = 0.3, .total_steps = 100};
}

TEST(Schedule, WarmsUpStaysAndFalls) {
  const ScheduleConfig c = plain();
  EXPECT_DOUBLE_EQ(learning_rate(c, 1), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(c, 5), 0.5);
  EXPECT_EQ(learning_rate(c, 10), 1.0);
  EXPECT_EQ(learning_rate(c, 11), 1.0);
  EXPECT_EQ(learning_rate(c, 70), 1.0);
  EXPECT_LT(learning_rate(c, 71), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(c, 85), 0.55);  // half way between
  EXPECT_EQ(learning_rate(c, 100), 0.1);
  EXPECT_EQ(learning_rate(c, 101), 0.1);
  for (std::int64_t step = 71; step < 100; ++step) {
    EXPECT_GT(learning_rate(c, step), learning_rate(c, step + 1));
  }
}

TEST(Schedule, DecayBeginsWhereTheRateFalls) {
  const ScheduleConfig c = plain();
  for (std::int64_t step = 1; step <= 120; ++step) EXPECT_EQ(in_decay(c, step), step > 70) << step;
}

TEST(Schedule, WithoutATotalTheRateStays) {
  ScheduleConfig c = plain();
  c.total_steps = 0;
  EXPECT_EQ(learning_rate(c, 1000000), 1.0);
  EXPECT_FALSE(in_decay(c, 1000000));
}

TEST(Schedule, CornersOfShareAndWarmUp) {
  ScheduleConfig c = plain();
  c.decay_share = 0.0;
  EXPECT_EQ(learning_rate(c, 100), 1.0);
  EXPECT_FALSE(in_decay(c, 100));
  c.decay_share = 1.0;  // begins when warm-up ends
  EXPECT_EQ(learning_rate(c, 10), 1.0);
  EXPECT_FALSE(in_decay(c, 10));
  EXPECT_TRUE(in_decay(c, 11));
  EXPECT_EQ(learning_rate(c, 100), 0.1);
  c.warmup_steps = 0;
  EXPECT_LT(learning_rate(c, 1), 1.0);
  c = plain();
  c.warmup_steps = 200;  // the run ends while warming up
  EXPECT_DOUBLE_EQ(learning_rate(c, 100), 0.5);
  EXPECT_FALSE(in_decay(c, 100));
  c.warmup_steps = 100;
  EXPECT_EQ(learning_rate(c, 100), 1.0);
  c = plain();
  c.total_steps = 1;
  c.warmup_steps = 0;
  c.decay_share = 1.0;
  EXPECT_EQ(learning_rate(c, 1), 0.1);
  EXPECT_THROW(learning_rate(c, 0), Error);
}

TEST(Schedule, TokensAndStepsWhicheverIsLess) {
  EXPECT_EQ(planned_steps(0, 0.0, 8192), 0);
  EXPECT_EQ(planned_steps(500, 0.0, 8192), 500);
  EXPECT_EQ(planned_steps(0, 20e6, 8192), 2442);  // 2441.4
  EXPECT_EQ(planned_steps(0, 16384.0, 8192), 2);
  EXPECT_EQ(planned_steps(500, 20e6, 8192), 500);
  EXPECT_EQ(planned_steps(5000, 20e6, 8192), 2442);
  EXPECT_EQ(planned_steps(0, 1.0, 8192), 1);
  EXPECT_EQ(planned_steps(0, 1e300, 1), 0);  // as good as no limit
}

}  // namespace
}  // namespace shoal

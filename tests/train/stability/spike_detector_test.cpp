#include "train/stability/spike_detector.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "autograd/base/rng.h"

namespace shoal {
namespace {

constexpr double kQuietNan = std::numeric_limits<double>::quiet_NaN();

// A run's cross-entropy: it falls from 5.5 towards 1.5 with noise of 0.045.
double falling(std::int64_t step, std::uint64_t seed = 1, double half = 120.0) {
  const Rng noise(seed, Purpose::kTest);
  return 1.5 + 4.0 * std::exp(-static_cast<double>(step) / half) +
         0.045 * noise.normal(static_cast<std::uint64_t>(step));
}

double norm(std::int64_t step, std::uint64_t seed = 1) {
  const Rng noise(seed + 1000, Purpose::kTest);
  return std::exp(0.5 - 0.001 * static_cast<double>(step) +
                  0.15 * noise.normal(static_cast<std::uint64_t>(step)));
}

SpikeVerdict see(SpikeDetector& detector, std::int64_t step, double ce, double grad_norm) {
  const SpikeVerdict v = detector.judge(step, ce, ce, grad_norm);
  detector.accept(v);
  return v;
}

// What a run keeps of a detector, by its paths.
struct Kept {
  std::map<std::string, double> numbers, defaults;
  std::vector<double>* list = nullptr;
  template <class T>
  void add_number(const std::string& path, T& number, std::optional<T> if_missing) {
    numbers[path] = static_cast<double>(number);
    defaults[path] = static_cast<double>(*if_missing);
  }
  void add_list(const std::string&, std::vector<double>& values,
                const std::optional<std::vector<double>>&) {
    list = &values;
  }
};

TEST(SpikeDetector, FindsNoSpikeInALongNoisyFall) {
  for (const double half : {20.0, 120.0, 1000.0}) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      SpikeDetector detector(SpikeConfig{});
      for (std::int64_t step = 1; step <= 3000; ++step) {
        const SpikeVerdict v = see(detector, step, falling(step, seed, half), norm(step, seed));
        ASSERT_FALSE(v.spike) << "seed " << seed << ", half " << half << ", step " << step << ": "
                              << v.score();
      }
    }
  }
}

// Where the loss still falls by ten times its noise in a hundred steps.
TEST(SpikeDetector, AFallingLossHidesNoSpike) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SpikeDetector detector(SpikeConfig{});
    std::int64_t step = 1;
    for (; step < 160; ++step) see(detector, step, falling(step, seed), norm(step, seed));
    const SpikeVerdict v = detector.judge(step, 0.0, falling(step, seed) + 1.0, norm(step, seed));
    EXPECT_TRUE(v.spike) << v.score();
    EXPECT_TRUE(v.alarm);
    EXPECT_STREQ(v.signal(), "loss");
    EXPECT_GE(v.onset, step - 2);  // chance makes the steps before it suspect
    EXPECT_NEAR(detector.predicted(v), falling(step, seed), 0.3);
    EXPECT_GT(v.ce_score, 10.0);
  }
}

TEST(SpikeDetector, WatchesTheGradientNormByItsLogarithm) {
  SpikeDetector detector(SpikeConfig{});
  for (std::int64_t step = 1; step < 200; ++step) see(detector, step, falling(step), norm(step));
  EXPECT_FALSE(detector.judge(200, 0.0, falling(200), 1.5 * norm(200)).spike);
  const SpikeVerdict v = detector.judge(200, 0.0, falling(200), 30.0 * norm(200));
  EXPECT_TRUE(v.spike);
  EXPECT_STREQ(v.signal(), "grad_norm");
  EXPECT_NEAR(std::log(detector.predicted(v)), std::log(norm(200)), 0.6);
  EXPECT_FALSE(detector.judge(200, 0.0, falling(200), 0.0).spike);  // no logarithm, no alarm
}

TEST(SpikeDetector, TheOnsetIsTheFirstOfTheSuspectStepsInARow) {
  SpikeConfig config;
  config.lookback = 5;
  SpikeDetector detector(config);
  std::int64_t step = 1;
  for (; step < 200; ++step) see(detector, step, 2.0 + 0.01 * std::cos(step), 1.0);
  see(detector, step++, 2.03, 1.0);  // suspect, but alone
  see(detector, step++, 2.0, 1.0);
  const std::int64_t begin = step;
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(see(detector, step++, 2.03, 1.0).spike);
  EXPECT_EQ(detector.judge(step, 0.0, 3.0, 1.0).onset, begin);
  for (int i = 0; i < 1; ++i) see(detector, step++, 2.03, 1.0);
  EXPECT_EQ(detector.judge(step, 0.0, 3.0, 1.0).onset, begin);
  EXPECT_EQ(detector.judge(step + 20, 0.0, 3.0, 1.0).onset, step + 20 - 4);  // no further back
}

TEST(SpikeDetector, WhatIsNotFiniteIsAnAlarmAlwaysAndEntersNothing) {
  SpikeDetector detector(SpikeConfig{}), other(SpikeConfig{});
  for (std::int64_t step = 1; step < 150; ++step) {
    see(other, step, falling(step), norm(step));
    see(detector, step, falling(step), norm(step));
    const bool early = step == 2;  // in warm-up
    if (!early && step != 120) continue;
    for (const SpikeVerdict& v :
         {detector.judge(step, 1.0, 1.0, kQuietNan), detector.judge(step, 1.0, HUGE_VAL, 1.0),
          detector.judge(step, kQuietNan, 1.0, 1.0)}) {
      EXPECT_TRUE(v.alarm);
      EXPECT_FALSE(v.finite);
      EXPECT_EQ(v.onset, step);
      EXPECT_STREQ(v.signal(), "not finite");
      detector.answered(v);
    }
    EXPECT_TRUE(detector.judge(step, kQuietNan, 1.0, 1.0).alarm);  // in the cool-down
    detector.accept(detector.judge(step, kQuietNan, 1.0, 1.0));
  }
  Kept a, b;
  detector.add_to(a);
  other.add_to(b);
  for (const char* path : {"/state/spike/loss/level", "/state/spike/loss/variance",
                           "/state/spike/grad_norm/trend", "/state/spike/loss/count"}) {
    EXPECT_EQ(a.numbers.at(path), b.numbers.at(path)) << path;
  }
}

TEST(SpikeDetector, ASpikeEntersNoStatisticsAndIsReportedOnceInACoolDown) {
  SpikeConfig config;
  config.cooldown = 50;
  SpikeDetector detector(config);
  std::int64_t step = 1;
  for (; step < 200; ++step) see(detector, step, 2.0 + 0.01 * std::cos(step), 1.0);
  Kept before;
  detector.add_to(before);
  const SpikeVerdict first = see(detector, step, 4.0, 1.0);
  EXPECT_TRUE(first.alarm);
  detector.answered(first);
  const SpikeVerdict second = see(detector, step + 1, 4.0, 1.0);
  EXPECT_TRUE(second.spike);
  EXPECT_FALSE(second.alarm);
  Kept after;
  detector.add_to(after);
  EXPECT_EQ(after.numbers.at("/state/spike/loss/variance"),
            before.numbers.at("/state/spike/loss/variance"));
  EXPECT_EQ(after.numbers.at("/state/spike/quiet_until"), static_cast<double>(step + 50));
  EXPECT_FALSE(detector.judge(step + 50, 0.0, 4.0, 1.0).alarm);
  EXPECT_TRUE(detector.judge(step + 51, 0.0, 4.0, 1.0).alarm);
}

// A loss that stays up is how the run is now, and is learned: no alarm for ever.
TEST(SpikeDetector, LearnsALevelThatStays) {
  SpikeConfig config;
  config.cooldown = 0;
  config.lookback = 10;
  config.warmup = 20;
  SpikeDetector detector(config);
  int alarms = 0;
  for (std::int64_t step = 1; step < 400; ++step) {
    const double level = step < 200 ? 2.0 : 3.0;
    alarms += see(detector, step, level + 0.01 * std::cos(step), 1.0).alarm ? 1 : 0;
  }
  EXPECT_EQ(alarms, 10);
  EXPECT_TRUE(detector.judge(400, 0.0, 4.0, 1.0).alarm);
}

TEST(SpikeDetector, SaysNothingBeforeItsWarmUp) {
  SpikeConfig config;
  config.warmup = 30;
  SpikeDetector detector(config);
  for (std::int64_t step = 1; step <= 30; ++step) {
    EXPECT_FALSE(detector.judge(step, 0.0, 1e6, 1e6).spike);
    see(detector, step, 2.0 + 0.01 * std::cos(step), 1.0);
  }
  EXPECT_TRUE(detector.judge(31, 0.0, 1e6, 1e6).spike);
  detector.restart();
  EXPECT_FALSE(detector.judge(31, 0.0, 1e6, 1e6).spike);
}

TEST(SpikeDetector, BeginsAsOlderCheckpointsMeanIt) {
  SpikeDetector detector(SpikeConfig{});
  Kept kept;
  detector.add_to(kept);
  EXPECT_EQ(kept.numbers, kept.defaults);
  EXPECT_EQ(kept.numbers.size(), 10U);
  ASSERT_NE(kept.list, nullptr);
  EXPECT_TRUE(kept.list->empty());
}

}  // namespace
}  // namespace shoal

#include "train/run/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace shoal {
namespace {

constexpr std::int64_t kVocab = 258;
const double kGuess = std::log(258.0);  // 5.553

std::optional<Divergence> judge(std::int64_t n, const std::function<double(std::int64_t)>& ce,
                                std::int64_t warmup = 10) {
  std::vector<StepRecord> steps(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) {
    StepRecord& s = steps[static_cast<std::size_t>(i)];
    s.step = i + 1;
    s.ce = ce(i + 1);
  }
  return find_divergence(steps, kVocab, warmup);
}

double healthy(std::int64_t step) {
  return 1.5 + 4.1 / (1.0 + 0.05 * static_cast<double>(step)) + (step % 3 == 0 ? 0.2 : 0.0);
}

TEST(Divergence, AHealthyRunHasNone) {
  for (const std::int64_t n : {0, 1, 2, 5, 20, 39, 40, 41, 200, 3000}) {
    EXPECT_FALSE(judge(n, healthy)) << n;
  }
}

// It guesses, as every run does at first, and a little worse than evenly.
TEST(Divergence, ARunThatOnlyBeginsHasNone) {
  for (const std::int64_t n : {1, 2, 6, 20, 39}) {
    EXPECT_FALSE(judge(
        n, [](std::int64_t) { return kGuess + 0.3; }, 0))
        << n;
  }
  for (const std::int64_t n : {40, 100, 1000}) {  // a long warm-up
    EXPECT_FALSE(judge(
        n, [](std::int64_t) { return kGuess + 0.3; }, n))
        << n;
  }
  // A steep start, come down before the end.
  EXPECT_FALSE(judge(
      60, [](std::int64_t s) { return s < 30 ? 40.0 : 5.0; }, 5));
}

TEST(Divergence, OneSpikeIsNone) {
  EXPECT_FALSE(judge(300, [](std::int64_t s) { return s % 50 == 0 ? 300.0 : healthy(s); }));
}

TEST(Divergence, ALossThatStaysAtAGuessIsOne) {
  // Dead activations: an even guess, to the rounding of floats.
  const auto dead = [](std::int64_t s) { return s < 20 ? 249.0 : kGuess - 1e-6; };
  for (const std::int64_t n : {30, 40, 60, 300}) {
    const auto d = judge(n, dead);
    ASSERT_TRUE(d) << n;
    EXPECT_NE(d->sentence().find("uniform guess (5.553)"), std::string::npos) << d->sentence();
  }
  EXPECT_TRUE(judge(
      8, [](std::int64_t s) { return s < 3 ? 5.6 : 60.0; }, 2));  // it blew up
  // Never learned anything, long after warm-up.
  EXPECT_TRUE(judge(100, [](std::int64_t) { return kGuess + 0.01; }));
}

TEST(Divergence, ALossFarAboveItsBestIsOne) {
  const auto d = judge(400, [](std::int64_t s) { return s <= 200 ? healthy(s) : 3.1; });
  ASSERT_TRUE(d);
  EXPECT_EQ(d->steps, 40);
  EXPECT_EQ(d->best_step, 200);
  EXPECT_NEAR(d->loss, 3.1, 1e-12);
  EXPECT_EQ(d->sentence().find("guess"), std::string::npos) << d->sentence();
  // A tenth of ln V above the best is the least, and a quarter of what was gained.
  const auto risen = [](double by) {
    return judge(400, [=](std::int64_t s) { return s <= 200 ? 1.55 : 1.55 + by; });
  };
  EXPECT_FALSE(risen(0.99));
  EXPECT_TRUE(risen(1.01));
  const auto little = [](double by) {
    return judge(400, [=](std::int64_t s) { return s <= 200 ? 4.5 : 4.5 + by; });
  };
  EXPECT_FALSE(little(0.55));
  EXPECT_TRUE(little(0.56));
  // In the warm-up, too.
  EXPECT_TRUE(judge(
      100, [](std::int64_t s) { return s <= 50 ? 5.5 : 9.0; }, 1000));
}

}  // namespace
}  // namespace shoal

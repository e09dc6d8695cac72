#include "train/run/run_clock.h"

#include <gtest/gtest.h>

#include <thread>

namespace shoal {
namespace {

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

TEST(RunClock, AddsUpPartsAndGoesOnInTheNextProcess) {
  RunClock first;
  first.begin(1000);
  first.start();
  {
    const RunClock::Timing timing(first, RunClock::kTraining);
    sleep_ms(30);
  }
  sleep_ms(10);
  EXPECT_GE(first.seconds(RunClock::kTraining), 0.03);
  EXPECT_EQ(first.seconds(RunClock::kSaving), 0.0);
  EXPECT_GE(first.seconds(), first.seconds(RunClock::kTraining) + 0.01);
  RunClock::Notes notes;
  first.put_into(notes);

  RunClock second;
  second.go_on(notes);
  second.start();
  EXPECT_NEAR(second.earlier_seconds(), std::stod(notes.at("run_seconds")), 1e-9);
  {
    const RunClock::Timing timing(second, RunClock::kSaving);
    sleep_ms(10);
  }
  EXPECT_NEAR(second.seconds(RunClock::kTraining), first.seconds(RunClock::kTraining), 1e-5);
  EXPECT_GE(second.seconds(RunClock::kSaving), 0.01);
  EXPECT_GE(second.seconds(), second.earlier_seconds() + 0.01);
  const double rate = second.tokens_per_second(3000);  // 2,000 of them are this run's
  EXPECT_NEAR(rate * second.seconds(), 2000.0, 200.0);
}

TEST(RunClock, NotesOfAnotherProgramAreZero) {
  RunClock clock;
  clock.go_on({{"run_seconds", "nan"}, {"train_seconds", "-5"}, {"eval_seconds", "x"}});
  EXPECT_EQ(clock.earlier_seconds(), 0.0);
  for (const auto part : {RunClock::kTraining, RunClock::kEvaluation, RunClock::kSaving}) {
    EXPECT_EQ(clock.seconds(part), 0.0);
  }
}

}  // namespace
}  // namespace shoal

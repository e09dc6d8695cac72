// Everything that a run does about a spike, at once: detector, rollback, anticipatory routing, with
// FP4 in training.
#include <gmock/gmock.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "tests/support/micro_run.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Settings = std::vector<std::string>;

constexpr std::int64_t kLength = 60;

bool full_test() {
  const char* full = std::getenv("SHOAL_TEST_FULL");
  return full != nullptr && std::string(full) == "1";
}

Settings recovery(const std::string& drain) {
  return {"train.steps=60",
          "train.eval_every=0",
          "model.fp4.experts=qat",
          "stability.spike={action: rollback, warmup: 15, threshold: 3, snapshot_every: 4, "
          "lookback: 6}",
          "stability.provoke=[{kind: bad_batch, at_step: 33}]",
          "stability.anticipatory={mode: on_spike, lag: 3, steps: 8, drain: " + drain + "}"};
}

// Where the run went back to, and where routing was switched.
std::vector<std::string> told_by(const std::string& run) {
  std::vector<std::string> told;
  for (const std::string& line : lines_of(run, "event")) {
    const Json event = *parse_line(line);
    const std::string name = event.at("event");
    if (name != "rollback" && !name.starts_with("anticipatory")) continue;
    told.push_back(name + " " + event.at("step").dump());
  }
  return told;
}

TEST(Recovery, RoutesAheadAfterARollbackAndEndsAsItsDrainSays) {
  const MicroRun micro;
  micro.train_to_the_end("fresh", recovery("fresh"));
  EXPECT_THAT(told_by(micro / "fresh"),
              ElementsAre("rollback 28", "anticipatory_on 28", "anticipatory_off 36"));
  micro.train_to_the_end("replay", recovery("replay"));
  EXPECT_THAT(told_by(micro / "replay"),
              ElementsAre("rollback 28", "anticipatory_on 28", "anticipatory_off 39"));
  EXPECT_NE(numbers_of(micro / "fresh"), numbers_of(micro / "replay"));
}

TEST(Recovery, ResumedInsideThePeriodItHasTheSameBits) {
  const MicroRun micro;
  micro.train_to_the_end("whole", recovery("replay"));
  Settings often = recovery("replay");
  often.insert(often.end(), {"checkpoint.every_steps=1", "checkpoint.keep=100"});
  micro.train_to_the_end("parts", often);
  for (int step = 40; step >= 28; step -= full_test() ? 1 : 4) {
    const Ended ended = run_program({"resume", micro / "parts", concat("checkpoint.step=", step)},
                                    {.threads = 1 + step % 2});
    ASSERT_EQ(ended.code, 0) << ended.err;
    expect_equal_runs(micro / "parts", micro / "whole", kLength);
  }
}

TEST(Recovery, KilledAtAnyInstantNoBitIsLost) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(concat("seed ", seed));
  std::mt19937_64 random(seed);
  const MicroRun micro;
  const Settings settings = recovery("replay");
  const auto begin = std::chrono::steady_clock::now();
  micro.train_to_the_end("whole", settings);
  const auto life = std::chrono::steady_clock::now() - begin;
  const int kills = full_test() ? 50 : 6;
  int left = kills, runs = 0;
  while (left > 0) {
    const std::string run = concat("killed-", runs++);
    const auto start = [&] {
      return fs::exists(micro / (run + "/config.yaml")) ? Settings{"resume", micro / run}
                                                        : micro.train_arguments(run, settings);
    };
    for (int i = 0; i < 3 && left > 0; ++i, --left) {
      Program program(start());
      std::this_thread::sleep_for(life * std::uniform_real_distribution<>(0.0, 0.8)(random));
      program.signal(SIGKILL);
      program.wait();
    }
    ASSERT_EQ(run_program(start()).code, 0);
    expect_equal_runs(micro / run, micro / "whole", kLength);
    fs::remove_all(micro / run);
  }
}

TEST(Recovery, OnSpikeNeedsARollback) {
  const MicroRun micro;
  const Ended ended = micro.train("x", {"stability.anticipatory.mode=on_spike"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.err,
              HasSubstr("stability.anticipatory.mode: on_spike begins after a rollback"));
  EXPECT_FALSE(fs::exists(micro / "x"));
}

}  // namespace
}  // namespace shoal

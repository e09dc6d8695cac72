// A run killed at random instants and resumed ends with the bits of one left in peace.
#include <gmock/gmock.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/support/micro_run.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kSteps = 40;
const std::vector<std::string> kSettings = {"train.steps=40", "checkpoint.every_steps=5"};

bool full_test() {
  const char* full = std::getenv("SHOAL_TEST_FULL");
  return full != nullptr && std::string(full) == "1";
}

class Killer {
 public:
  Killer(const MicroRun& micro, std::uint64_t seed) : micro_(micro), random_(seed) {}

  // A run's life from its folder's first file to its end.
  void measure(const std::string& run) {
    Program program(micro_.train_arguments(run, kSettings), {.threads = 2});
    wait_until(program, [&] { return fs::exists(micro_ / (run + "/config.yaml")); });
    const auto begin = Clock::now();
    const Ended ended = program.wait();
    ASSERT_EQ(ended.code, 0) << ended.err;
    life_ = Clock::now() - begin;
  }

  // True: killed. False: it was faster.
  bool start_and_kill(const std::string& run) {
    const fs::path config = micro_ / (run + "/config.yaml");
    const bool there = fs::exists(config);
    Program program(there ? std::vector<std::string>{"resume", micro_ / run}
                          : micro_.train_arguments(run, kSettings),
                    {.threads = 2});
    if (!there) wait_until(program, [&] { return fs::exists(config); });
    std::this_thread::sleep_for(life_ * std::uniform_real_distribution<>(0.0, 1.0)(random_));
    program.signal(SIGKILL);
    const Ended ended = program.wait();
    EXPECT_TRUE(ended.signal == SIGKILL || ended.code == 0) << ended.err;
    return ended.signal == SIGKILL;
  }

  bool toss() { return std::bernoulli_distribution(0.5)(random_); }

 private:
  const MicroRun& micro_;
  std::mt19937_64 random_;
  std::chrono::duration<double> life_{};
};

TEST(Kill, AtRandomInstantsLosesNoBit) {
  const int wanted = full_test() ? 50 : 6;
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(concat("seed ", seed));
  const MicroRun micro;
  Killer killer(micro, seed);
  killer.measure("undisturbed");
  int kills = 0, runs = 0, inside = 0;
  while (kills < wanted && !testing::Test::HasFailure()) {
    const std::string run = concat("killed-", runs++);
    // Half of the time the resumed process is killed as well, and so on.
    do {
      const bool killed = killer.start_and_kill(run);
      kills += killed ? 1 : 0;
      const std::int64_t step = last_step(micro / run);
      inside += killed && step > 0 && step < kSteps ? 1 : 0;
    } while (killer.toss());
    const Ended ended = run_program({"resume", micro / run}, {.threads = 2});
    ASSERT_EQ(ended.code, 0) << ended.err;
    expect_equal_runs(micro / run, micro / "undisturbed", kSteps);
    // A kill between the last save and the deletion of the oldest leaves that one.
    std::vector<std::int64_t> kept = checkpoints_of(micro / run);
    if (kept.front() == 25) kept.erase(kept.begin());
    EXPECT_EQ(kept, (std::vector<std::int64_t>{30, 35, 40}));
    for (const std::string& path : everything_in(micro / (run + "/checkpoints"))) {
      EXPECT_THAT(path, testing::StartsWith("step-")) << "a leftover";
    }
    EXPECT_TRUE(fs::exists(micro / (run + "/report.html")));
    fs::remove_all(micro / run);
  }
  EXPECT_GT(inside, 0) << "no kill hit a run between its first and last step";
  RecordProperty("kills", kills);
  RecordProperty("kills_between_steps", inside);
  std::printf("%d kills in %d runs, %d of them between the first and the last step\n", kills, runs,
              inside);
}

// A second name of the file keeps the old bytes: it was replaced, never written over, so that no
// instant of a resume leaves half a configuration.
TEST(Kill, FindsAWholeConfigurationAtAnyInstant) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  const std::string config = bytes_of_file(micro / "run/config.yaml");
  fs::create_hard_link(micro / "run/config.yaml", micro / "old.yaml");
  ASSERT_EQ(run_program({"resume", micro / "run", "log.every=4"}).code, 0);
  EXPECT_EQ(bytes_of_file(micro / "old.yaml"), config);
  EXPECT_NE(bytes_of_file(micro / "run/config.yaml"), config);
}

// Killed after its last save, a run is finished and has no report yet.
TEST(Kill, AfterTheLastCheckpointLeavesAReportToResume) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  fs::remove(micro / "run/report.html");
  ASSERT_EQ(run_program({"resume", micro / "run"}).code, 0);
  EXPECT_TRUE(fs::exists(micro / "run/report.html"));
}

// Where the last step is due for a checkpoint, its evaluation is written before: a kill after that
// checkpoint loses no line.
TEST(Kill, AfterTheLastCheckpointFindsTheLastEvaluation) {
  const MicroRun micro;
  micro.train_to_the_end("run", {"train.steps=10", "train.eval_every=0"});
  const std::string metrics = bytes_of_file(micro / "run/metrics.jsonl");
  const std::size_t saved = metrics.rfind("\"event\":\"checkpoint\"");
  const std::size_t evaluated = metrics.rfind("{\"kind\":\"eval\",\"step\":10,");
  ASSERT_NE(saved, std::string::npos);
  ASSERT_NE(evaluated, std::string::npos);
  EXPECT_LT(evaluated, saved);
  EXPECT_EQ(lines_of(micro / "run", "eval").size(), 1U);
}

}  // namespace
}  // namespace shoal

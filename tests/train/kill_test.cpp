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
// All that V4 is made of: window, CSA with an indexer, HCA; hash and learned routing; MTP, Muon.
const std::vector<std::string> kSettings = {
    "train.steps=40",
    "checkpoint.every_steps=5",
    "model.layer_types=[sliding_attention, compressed_sparse_attention, "
    "heavily_compressed_attention]",
    "model.mlp_layer_types=[hash_moe, moe, moe]",
    "model.compress_rates.compressed_sparse_attention=2",
    "model.compress_rates.heavily_compressed_attention=8",
    "model.index_n_heads=2",
    "model.index_head_dim=8",
    "model.index_topk=3"};

bool full_test() {
  const char* full = std::getenv("SHOAL_TEST_FULL");
  return full != nullptr && std::string(full) == "1";
}

class Killer {
 public:
  Killer(const MicroRun& micro, std::uint64_t seed) : micro_(micro), random_(seed) {}

  // From the start of the process: until a run can be resumed, and to its end.
  void measure(const std::string& run) {
    const auto begin = Clock::now();
    Program program(micro_.train_arguments(run, kSettings), {.threads = 2});
    wait_until(program, [&] { return is_run(run); });
    birth_ = Clock::now() - begin;
    const Ended ended = program.wait();
    ASSERT_EQ(ended.code, 0) << ended.err;
    life_ = Clock::now() - begin;
  }

  bool is_run(const std::string& run) const { return fs::exists(micro_ / (run + "/config.yaml")); }

  // What somebody does who finds the run not finished.
  std::vector<std::string> again(const std::string& run) const {
    return is_run(run) ? std::vector<std::string>{"resume", micro_ / run}
                       : micro_.train_arguments(run, kSettings);
  }

  // True: killed. False: it was faster.
  bool start_and_kill(const std::string& run) {
    Program program(again(run), {.threads = 2});
    // A third of the kills hit the start: before the folder, its lock and log, its configuration.
    const auto span = chance(1.0 / 3) ? birth_ * 1.2 : life_;
    std::this_thread::sleep_for(span * std::uniform_real_distribution<>(0.0, 1.0)(random_));
    program.signal(SIGKILL);
    const Ended ended = program.wait();
    EXPECT_TRUE(ended.signal == SIGKILL || ended.code == 0) << ended.err;
    return ended.signal == SIGKILL;
  }

  bool chance(double share) { return std::bernoulli_distribution(share)(random_); }

 private:
  const MicroRun& micro_;
  std::mt19937_64 random_;
  std::chrono::duration<double> birth_{}, life_{};
};

TEST(Kill, AtRandomInstantsLosesNoBit) {
  const int wanted = full_test() ? 50 : 6;
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(concat("seed ", seed));
  const MicroRun micro;
  Killer killer(micro, seed);
  killer.measure("undisturbed");
  int kills = 0, runs = 0, inside = 0, early = 0;
  while (kills < wanted && !testing::Test::HasFailure()) {
    const std::string run = concat("killed-", runs++);
    // Half of the time the resumed process is killed as well, and so on.
    do {
      const bool killed = killer.start_and_kill(run);
      kills += killed ? 1 : 0;
      const std::int64_t step = last_step(micro / run);
      inside += killed && step > 0 && step < kSteps ? 1 : 0;
      early += killed && !killer.is_run(run) ? 1 : 0;
    } while (killer.chance(0.5));
    const Ended ended = run_program(killer.again(run), {.threads = 2});
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
  if (full_test()) EXPECT_GT(early, 0) << "no kill came before there was a run";
  RecordProperty("kills", kills);
  RecordProperty("kills_between_steps", inside);
  RecordProperty("kills_before_the_run", early);
  std::printf("%d kills in %d runs, %d between the first and the last step, %d before the run\n",
              kills, runs, inside, early);
}

// Wherever the start is cut off, the same command starts again, or there is a run to resume.
TEST(Kill, InTheFirstMillisecondsLeavesNothingInTheWay) {
  const MicroRun micro;
  const std::vector<std::string> settings = {"train.steps=2"};
  micro.train_to_the_end("undisturbed", settings);
  std::size_t before = 0;  // kills that left no run
  for (int ms = 0; ms < 100; ms += ms / 4 + 1) {
    SCOPED_TRACE(concat(ms, " ms"));
    const std::string run = concat("killed-", ms);
    Program program(micro.train_arguments(run, settings));
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    program.signal(SIGKILL);
    const bool killed = program.wait().signal == SIGKILL;
    if (fs::exists(micro / (run + "/config.yaml"))) {
      ASSERT_EQ(run_program({"resume", micro / run}).code, 0);
    } else {
      ++before;
      micro.train_to_the_end(run, settings);
    }
    expect_equal_runs(micro / run, micro / "undisturbed", 2);
    if (!killed) break;  // it is faster than that
  }
  EXPECT_GT(before, 0U);
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

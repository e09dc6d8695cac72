// Spikes and bad numbers in whole runs: report, skip, rollback, giving up; with kills around them.
#include <gmock/gmock.h>

#include <csignal>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/support/micro_run.h"
#include "train/metrics/event_record.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Settings = std::vector<std::string>;

constexpr std::int64_t kSpikeSteps = 60;
// Snapshots and checkpoints fall on different steps.
const Settings kPlain = {"train.steps=60", "train.eval_every=7", "checkpoint.every_steps=5"};
const std::string kWatch = "warmup: 15, threshold: 3, snapshot_every: 4, lookback: 6";

Settings with(const Settings& more) {
  Settings all = kPlain;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::string spike(const std::string& action, const std::string& more = "") {
  return "stability.spike={action: " + action + ", " + kWatch + more + "}";
}
std::string provoke(const std::string& faults) { return "stability.provoke=[" + faults + "]"; }
const std::string kBadBatch = "{kind: bad_batch, at_step: 33}";

bool full_spike_test() {
  const char* full = std::getenv("SHOAL_TEST_FULL");
  return full != nullptr && std::string(full) == "1";
}

std::vector<EventRecord> told_of(const std::string& run, const std::string& name) {
  std::vector<EventRecord> found;
  for (const std::string& line : lines_of(run, "event")) {
    auto event = event_of(*parse_line(line));
    if (event->event == name) found.push_back(std::move(*event));
  }
  return found;
}

// All but what tells of rollbacks.
void expect_undisturbed_bits(const std::string& run, const std::string& undisturbed) {
  EXPECT_EQ(numbers_of(run), numbers_of(undisturbed));
  std::map<std::string, std::string> a = state_of(run), b = state_of(undisturbed);
  for (const char* path : {"/state/rollbacks", "/state/spent_faults"}) {
    EXPECT_TRUE(a.contains(path) && b.contains(path)) << path;
    a.erase(path);
    b.erase(path);
  }
  EXPECT_EQ(a, b);
}

TEST(Spikes, ARolledBackRunRepeatsTheUndisturbedBits) {
  const MicroRun micro;
  micro.train_to_the_end("undisturbed", with({spike("rollback")}));
  EXPECT_THAT(told_of(micro / "undisturbed", "spike"), IsEmpty());
  EXPECT_FALSE(fs::exists(micro / "undisturbed/checkpoints/snapshots"));
  const Settings faults = {kBadBatch, "{kind: lr_pulse, at_step: 30, steps: 2, factor: 200}",
                           "{kind: expert_shock, at_step: 30, factor: 300}"};
  for (const std::string& fault : faults) {
    SCOPED_TRACE(fault);
    const std::string run = fault.substr(7, 5);
    const Ended ended = micro.train(run, with({spike("rollback"), provoke(fault)}));
    ASSERT_EQ(ended.code, 0) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr("(rollback 1 of 3)"));
    expect_undisturbed_bits(micro / run, micro / "undisturbed");
    EXPECT_EQ(checkpoints_of(micro / run), (std::vector<std::int64_t>{50, 55, 60}));
    const auto provoked = told_of(micro / run, "provoked");
    const auto spikes = told_of(micro / run, "spike");
    const auto rollbacks = told_of(micro / run, "rollback");
    ASSERT_EQ(provoked.size(), 1U);
    ASSERT_EQ(spikes.size(), 1U);
    ASSERT_EQ(rollbacks.size(), 1U);
    const auto at = [](const EventRecord& e, const char* field) {
      return e.fields.at(field).get<std::int64_t>();
    };
    // At the latest in the third step that can show it.
    EXPECT_GE(at(spikes[0], "attempted_step"), at(provoked[0], "attempted_step"));
    EXPECT_LE(at(spikes[0], "attempted_step"), at(provoked[0], "attempted_step") + 4);
    EXPECT_LE(rollbacks[0].step, at(spikes[0], "onset") - 2);
    EXPECT_GT(rollbacks[0].step, at(spikes[0], "onset") - 2 - 4);
    EXPECT_EQ(rollbacks[0].step % 4, 0);
    // What was undone is there to be read: in the lines, the log and the report.
    EXPECT_EQ(rollbacks[0].fields.at("undone_ce").size(),
              static_cast<std::size_t>(at(rollbacks[0], "attempted_step") - rollbacks[0].step - 1));
    EXPECT_THAT(bytes_of_file(micro / (run + "/log.txt")), HasSubstr("back to step"));
    const std::string report = bytes_of_file(micro / (run + "/report.html"));
    EXPECT_THAT(report, HasSubstr("rollback</text>"));
    EXPECT_THAT(report, HasSubstr("went back 1 time: from step"));
  }
}

TEST(Spikes, AReportLeavesTheNumbersAlone) {
  const MicroRun micro;
  micro.train_to_the_end("off", with({provoke(kBadBatch)}));
  micro.train_to_the_end("report", with({provoke(kBadBatch), spike("report")}));
  EXPECT_EQ(numbers_of(micro / "report"), numbers_of(micro / "off"));
  EXPECT_THAT(told_of(micro / "off", "spike"), IsEmpty());
  const auto spikes = told_of(micro / "report", "spike");
  ASSERT_EQ(spikes.size(), 1U);
  EXPECT_EQ(spikes[0].step, 33);
  EXPECT_EQ(spikes[0].fields.at("attempted_step"), 33);
  EXPECT_EQ(spikes[0].fields.at("action"), "report");
  EXPECT_THAT(bytes_of_file(micro / "report/report.html"), HasSubstr("spike</text>"));
}

TEST(Spikes, ASkippedStepLeavesOutItsUpdateAndItsData) {
  const MicroRun micro;
  micro.train_to_the_end("skip", with({provoke(kBadBatch), spike("skip")}));
  const auto skips = told_of(micro / "skip", "skip");
  ASSERT_EQ(skips.size(), 1U);
  EXPECT_EQ(skips[0].fields.at("attempted_step"), 33);
  EXPECT_EQ(told_of(micro / "skip", "provoked").size(), 1U);
  EXPECT_EQ(told_of(micro / "skip", "spike").size(), 1U);
  EXPECT_EQ(last_step(micro / "skip"), kSpikeSteps);
  std::int64_t samples = 0;
  const std::string stored = state_of(micro / "skip").at("/state/samples");
  std::memcpy(&samples, stored.data() + stored.size() - sizeof samples, sizeof samples);
  EXPECT_EQ(samples, (kSpikeSteps + 1) * 6);
}

// Weights that are broken make every batch look bad: that is no reason to train no more.
TEST(Spikes, AfterTenSkipsInARowTheRunGoesOn) {
  const MicroRun micro;
  micro.train_to_the_end(
      "run", with({provoke("{kind: lr_pulse, at_step: 30, factor: 200}"), spike("skip")}));
  EXPECT_EQ(told_of(micro / "run", "skip").size(), 10U);
  EXPECT_EQ(told_of(micro / "run", "spike").size(), 1U);
  EXPECT_EQ(last_step(micro / "run"), kSpikeSteps);
}

// The detector learns nothing that a resume would lose, whatever it has seen.
TEST(Spikes, ResumedAtAnyStepTheDecisionsAreTheSame) {
  const MicroRun micro;
  const Settings settings = with({spike("rollback"), provoke(kBadBatch), "train.eval_every=0",
                                  "checkpoint.every_steps=1", "checkpoint.keep=100"});
  micro.train_to_the_end("whole", settings);
  EXPECT_EQ(told_of(micro / "whole", "rollback").size(), 1U);
  for (const std::int64_t stop : {28, 30, 31, 32, 33}) {
    SCOPED_TRACE(stop);
    const std::string run = concat("stopped-", stop);
    // The state as it was saved first, before a rollback too: the process is killed there.
    Program program(micro.train_arguments(run, settings));
    wait_until(program, [&] { return last_step(micro / run) >= stop; });
    program.signal(SIGKILL);
    program.wait();
    ASSERT_EQ(run_program({"resume", micro / run}).code, 0);
    expect_equal_runs(micro / run, micro / "whole", kSpikeSteps);
    EXPECT_EQ(told_of(micro / run, "rollback").size(), 1U);
    EXPECT_EQ(told_of(micro / run, "spike").size(), 1U);
    EXPECT_EQ(told_of(micro / run, "provoked").size(), 1U);
    fs::remove_all(micro / run);
  }
}

TEST(Spikes, KilledAtAnyMomentAroundARollbackNoBitIsLost) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE(concat("seed ", seed));
  std::mt19937_64 random(seed);
  const MicroRun micro;
  const Settings settings =
      with({spike("rollback"),
            provoke(kBadBatch + ", {kind: lr_pulse, at_step: 40, steps: 3, factor: 200}")});
  const auto begin = std::chrono::steady_clock::now();
  micro.train_to_the_end("whole", settings);
  const auto life = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(told_of(micro / "whole", "rollback").size(), 2U);
  const int runs = full_spike_test() ? 25 : 3;
  for (int i = 0; i < runs; ++i) {
    const std::string run = concat("killed-", i);
    for (int kills = 0; kills < 3; ++kills) {
      Program program(fs::exists(micro / (run + "/config.yaml"))
                          ? Settings{"resume", micro / run}
                          : micro.train_arguments(run, settings));
      std::this_thread::sleep_for(life * std::uniform_real_distribution<>(0.1, 0.7)(random));
      program.signal(SIGKILL);
      program.wait();
    }
    ASSERT_EQ(run_program(fs::exists(micro / (run + "/config.yaml"))
                              ? Settings{"resume", micro / run}
                              : micro.train_arguments(run, settings))
                  .code,
              0);
    expect_equal_runs(micro / run, micro / "whole", kSpikeSteps);
    EXPECT_EQ(told_of(micro / run, "rollback").size(), 2U);
    fs::remove_all(micro / run);
  }
}

// The rollback itself: checkpoints go, the state comes back, is saved, the records follow.
TEST(Spikes, KilledInsideARollbackNoBitIsLost) {
  const MicroRun micro;
  const Settings settings = with({spike("rollback"), provoke(kBadBatch)});
  micro.train_to_the_end("whole", settings);
  std::mt19937_64 random(5);
  int inside = 0;
  const int runs = full_spike_test() ? 25 : 4;
  for (int i = 0; i < runs; ++i) {
    SCOPED_TRACE(i);
    const std::string run = concat("killed-", i);
    Program program(micro.train_arguments(run, settings));
    wait_until(program, [&] { return !told_of(micro / run, "rollback").empty(); });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 30000));
    program.signal(SIGKILL);
    program.wait();
    const std::int64_t step = told_of(micro / run, "rollback").at(0).step;
    inside += last_step(micro / run) > step + 1 ? 1 : 0;  // the records had not gone back yet
    ASSERT_EQ(run_program({"resume", micro / run}).code, 0);
    expect_equal_runs(micro / run, micro / "whole", kSpikeSteps);
    for (const char* event : {"rollback", "spike", "provoked"}) {
      EXPECT_EQ(told_of(micro / run, event).size(), 1U) << event;
    }
    fs::remove_all(micro / run);
  }
  std::printf("%d of %d kills inside the rollback\n", inside, runs);
}

// Snapshots that no memory would hold lie on disk, and lead to the same bits.
TEST(Spikes, WhereMemoryDoesNotSufficeCheckpointsServe) {
  const MicroRun micro;
  const std::string watch = "warmup: 15, threshold: 3, snapshot_every: 1, lookback: ";
  const Settings both = {provoke(kBadBatch)};
  micro.train_to_the_end(
      "memory", with({provoke(kBadBatch), "stability.spike={action: rollback, " + watch + "60}"}));
  const Ended ended = micro.train(
      "disk",
      with({provoke(kBadBatch), "stability.spike={action: rollback, " + watch + "100000}"}));
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, testing::ContainsRegex("up to 100001 snapshots for a rollback take "
                                                "[0-9.]+ GiB of memory, but only [0-9.]+ GiB are "
                                                "free"));
  EXPECT_THAT(ended.err, HasSubstr("checkpoints on disk serve instead"));
  EXPECT_EQ(told_of(micro / "disk", "rollback").size(), 1U);
  EXPECT_EQ(numbers_of(micro / "disk"), numbers_of(micro / "memory"));
}

const Settings kOverflow = {"optim.lr=1e30", "optim.clip=0", "optim.warmup_steps=0"};

TEST(Spikes, AfterTheLastRollbackTheRunGivesUpAndSaysWhatToTry) {
  const MicroRun micro;
  Settings settings = kOverflow;
  settings.emplace_back("stability.on_bad_numbers=rollback");
  settings.emplace_back("stability.spike={max_rollbacks: 2}");
  const Ended ended = micro.train("run", settings);
  EXPECT_EQ(ended.code, 4) << ended.err;
  EXPECT_THAT(ended.last_line(), HasSubstr("step 2: "));
  EXPECT_THAT(ended.last_line(), HasSubstr("2 rollbacks did not help"));
  EXPECT_THAT(ended.last_line(), HasSubstr("try a lower optim.lr"));
  EXPECT_EQ(told_of(micro / "run", "rollback").size(), 2U);
  const auto gave_up = told_of(micro / "run", "gave_up");
  ASSERT_EQ(gave_up.size(), 1U);
  EXPECT_EQ(gave_up[0].fields.at("rollbacks"), 2);
  EXPECT_THAT(bytes_of_file(micro / "run/report.html"), HasSubstr("2 rollbacks did not help"));
  // It stays given up, until it may do something else.
  EXPECT_EQ(run_program({"resume", micro / "run"}).code, 4);
  const Ended more = run_program({"resume", micro / "run", "stability.spike.max_rollbacks=3"});
  EXPECT_EQ(more.code, 4);
  EXPECT_THAT(more.last_line(), HasSubstr("3 rollbacks did not help"));
  // A fork is another run, with rollbacks of its own.
  const Ended fork = run_program(
      {"resume", micro / "run", "--fork", micro / "fork", "optim.lr=4e-3", "optim.clip=1"});
  EXPECT_EQ(fork.code, 0) << fork.err;
}

// Each setting that cannot be is refused in one line, before there is a folder.
TEST(Spikes, ContradictorySettingsAreRefused) {
  const MicroRun micro;
  const std::pair<Settings, const char*> kCases[] = {
      {{"stability.spike={action: rollback, max_rollbacks: 0}"}, "max_rollbacks: 0 contradicts"},
      {{"stability.on_bad_numbers=rollback", "stability.spike.max_rollbacks=0"},
       "max_rollbacks: 0 contradicts"},
      {{"stability.spike={action: rollback, snapshot_every: 0}"}, "stability.spike.snapshot_every"},
      {{"stability.spike={onset: 7}"}, "onset: 7 is above stability.spike.threshold 6"},
      {{"stability.spike={action: heal}"}, "stability.spike.action"},
      {{"stability.provoke=[{kind: earthquake, at_step: 3}]"}, "stability.provoke.kind"},
      {{"stability.provoke=[{kind: bad_batch}]"}, "an entry needs kind and at_step"},
      {{"stability.provoke=[{kind: bad_batch, at_step: 3, factor: 2}]"}, "factor means nothing"},
      {{"stability.provoke=[{kind: expert_shock, at_step: 3, steps: 2}]"}, "steps means nothing"},
      {{"stability.provoke=[{kind: bad_batch, at_step: 25}]"}, "at step 25 is never reached"},
      {{"stability.provoke=[{kind: lr_pulse, at_step: 24, steps: 2}]"}, "at step 25 is never"},
      {{"stability.provoke=[{kind: lr_pulse, at_step: 0}]"}, "stability.provoke.at_step"},
      {{"stability.provoke=[{kind: expert_shock, at_step: 3}]", "model.mlp_layer_types=[dense x2]"},
       "no layer of the model has experts"},
  };
  for (const auto& [settings, says] : kCases) {
    const Ended ended = micro.train("run", settings);
    EXPECT_EQ(ended.code, 2) << says;
    EXPECT_THAT(ended.err, HasSubstr(says));
    EXPECT_FALSE(fs::exists(micro / "run"));
  }
}

// Provoked: a rate that throws the weights away for good.
TEST(Spikes, ADivergedRunFailsWhereThatIsAskedFor) {
  const MicroRun micro;
  const Settings settings =
      with({provoke("{kind: lr_pulse, at_step: 36, steps: 25, factor: 300}")});
  const Ended plain = micro.train("plain", settings);
  ASSERT_EQ(plain.code, 0) << plain.err;
  EXPECT_THAT(plain.last_line(), HasSubstr("it has diverged"));
  std::vector<std::string> arguments = micro.train_arguments("strict", settings);
  arguments.emplace_back("--strict");
  const Ended strict = run_program(arguments);
  EXPECT_EQ(strict.code, 4) << strict.err;
  EXPECT_THAT(strict.last_line(), HasSubstr("it has diverged"));
  EXPECT_EQ(told_of(micro / "strict", "diverged").size(), 1U);
  EXPECT_EQ(run_program({"resume", micro / "strict", "--strict"}).code, 4);  // finished, as it is
  EXPECT_EQ(run_program({"resume", micro / "strict"}).code, 0);
}

}  // namespace
}  // namespace shoal

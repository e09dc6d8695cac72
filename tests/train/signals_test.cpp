// How a run is asked to stop, and how it goes on.
#include <gmock/gmock.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/support/micro_run.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

// A run that would take hours.
const std::vector<std::string> kEndless = {"train.steps=1000000", "checkpoint.every_steps=0",
                                           "train.eval_every=0"};

TEST(Signals, TheFirstSavesAndExits75) {
  const MicroRun micro;
  for (const int number : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) {
    const std::string run = std::to_string(number);
    Program program(micro.train_arguments(run, kEndless));
    ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / run) >= 2; }));
    program.signal(number);
    const Ended ended = program.wait();
    EXPECT_EQ(ended.code, 75) << ended.err;
    EXPECT_THAT(ended.last_line(), HasSubstr("stopped on request"));
    EXPECT_THAT(ended.last_line(), HasSubstr("shoal resume " + (micro / run)));
    EXPECT_EQ(checkpoints_of(micro / run), std::vector<std::int64_t>{last_step(micro / run)});
    const auto events = lines_of(micro / run, "event");
    EXPECT_THAT(events, testing::Contains(HasSubstr(concat("\"signal\":", number))));
    EXPECT_TRUE(fs::exists(micro / (run + "/report.html")));
  }
}

TEST(Signals, TheSecondExitsAtOnce) {
  const MicroRun micro;
  micro.train_to_the_end("undisturbed");
  Program program(micro.train_arguments("run"));
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= 7; }));
  ::kill(program.pid(), SIGSTOP);  // so that both wait for it together
  program.signal(SIGTERM);
  program.signal(SIGINT);
  ::kill(program.pid(), SIGCONT);
  const Ended ended = program.wait();
  EXPECT_THAT(ended.code, testing::AnyOf(128 + SIGTERM, 128 + SIGINT)) << ended.err;
  const Ended resumed = run_program({"resume", micro / "run"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  expect_equal_runs(micro / "run", micro / "undisturbed");
}

// A terminal that closes says so more than once, and a SIGTERM may follow: still one request.
TEST(Signals, AHangUpIsNeverTheSecond) {
  const MicroRun micro;
  Program program(micro.train_arguments("run", kEndless));
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= 2; }));
  ::kill(program.pid(), SIGSTOP);
  program.signal(SIGHUP);
  program.signal(SIGTERM);
  ::kill(program.pid(), SIGCONT);
  program.signal(SIGHUP);
  const Ended ended = program.wait();
  EXPECT_EQ(ended.code, 75) << ended.err;
  EXPECT_EQ(checkpoints_of(micro / "run"), std::vector<std::int64_t>{last_step(micro / "run")});
}

TEST(Signals, AHangUpThatIsIgnoredStaysIgnored) {
  const MicroRun micro;
  ProgramOptions options;
  options.through = {"nohup"};
  Program program(micro.train_arguments("run", kEndless), options);
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= 2; }));
  program.signal(SIGHUP);
  const std::int64_t then = last_step(micro / "run");
  EXPECT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= then + 3; }));
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait().code, 75);
}

// Nothing is there to be saved yet: the same code, at once, whatever is being read.
TEST(Signals, WhileDataAreLoadedEndItAtOnce) {
  const MicroRun micro;
  std::string text;
  for (int i = 0; i < 400000; ++i) text += concat("document ", i, "\n\n");
  micro.folder().write("large.txt", text);
  const auto before = everything_in(micro.folder().path());
  Program program(micro.train_arguments("run", {"data.train=[" + (micro / "large.txt") + "]"}));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const auto begin = std::chrono::steady_clock::now();
  program.signal(SIGTERM);
  const Ended ended = program.wait();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  EXPECT_EQ(ended.code, 75) << ended.err;
  EXPECT_THAT(ended.last_line(), HasSubstr("stopped on request before the run began"));
  EXPECT_EQ(everything_in(micro.folder().path()), before);
}

// A validation that would take minutes is dropped; the run that goes on makes it up, so that both
// have the same records.
class LongValidation : public testing::TestWithParam<std::int64_t> {};

TEST_P(LongValidation, IsLeftForTheRunThatGoesOn) {
  const MicroRun micro;
  std::string text;
  for (int i = 0; i < 4000; ++i) text += concat("held out ", i, "\n\n");
  micro.folder().write("held_out.txt", text);
  const std::vector<std::string> settings = {
      "data.validation=[" + (micro / "held_out.txt") + "]", "train.eval_every=4",
      concat("train.steps=", GetParam()), "train.sample_prompts=[]", "log.every=1"};
  micro.train_to_the_end("undisturbed", settings);
  Program program(micro.train_arguments("run", settings));
  // In the middle of the evaluation after the fourth step.
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") == 4; }));
  program.signal(SIGTERM);
  const Ended ended = program.wait();
  ASSERT_EQ(ended.code, 75) << ended.err;
  ASSERT_THAT(lines_of(micro / "run", "eval"), testing::IsEmpty()) << "it came too late";
  EXPECT_EQ(checkpoints_of(micro / "run"), std::vector<std::int64_t>{4});
  EXPECT_FALSE(lines_of(micro / "run", "event").empty());
  for (int again = 0; again < 2; ++again) {
    const Ended resumed = run_program({"resume", micro / "run"});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(numbers_of(micro / "run"), numbers_of(micro / "undisturbed"));
  }
  EXPECT_EQ(state_of(micro / "run"), state_of(micro / "undisturbed"));
}

INSTANTIATE_TEST_SUITE_P(Signals, LongValidation, testing::Values(4, 6));

// From the moment that the run's folder is there: a run that has not begun saves its beginning.
TEST(Signals, BeforeTheFirstStepSaveTheBeginning) {
  const MicroRun micro;
  micro.train_to_the_end("undisturbed");
  Program program(micro.train_arguments("run"));
  ASSERT_TRUE(wait_until(program, [&] { return fs::exists(micro / "run/config.yaml"); }));
  program.signal(SIGTERM);
  const Ended ended = program.wait();
  EXPECT_EQ(ended.code, 75) << ended.signal << ended.err;
  const Ended resumed = run_program({"resume", micro / "run"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  expect_equal_runs(micro / "run", micro / "undisturbed");
}

TEST(Signals, MinutesEndARun) {
  const MicroRun micro;
  const Ended ended = micro.train("run", {"train.steps=0", "train.minutes=0.003"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_GT(last_step(micro / "run"), 0);
  EXPECT_EQ(checkpoints_of(micro / "run").back(), last_step(micro / "run"));
  const Ended resumed = run_program({"resume", micro / "run"});
  EXPECT_EQ(resumed.code, 0);
  EXPECT_THAT(resumed.last_line(), HasSubstr("finished"));
}

// What a batch job types each time it is started.
TEST(OrResume, BeginsGoesOnAndIsDone) {
  const MicroRun micro;
  micro.train_to_the_end("undisturbed");
  std::vector<std::string> arguments = micro.train_arguments("run");
  arguments.emplace_back("--or-resume");
  Program program(arguments);
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= 7; }));
  program.signal(SIGTERM);
  ASSERT_EQ(program.wait().code, 75);
  const Ended resumed = run_program(arguments);
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("resumed at step"));
  expect_equal_runs(micro / "run", micro / "undisturbed");
  const Ended again = run_program(arguments);
  EXPECT_EQ(again.code, 0);
  EXPECT_THAT(again.last_line(), HasSubstr("is finished at step 24"));
}

TEST(OrResume, NamesTheSettingsThatDiffer) {
  const MicroRun micro;
  micro.train_to_the_end("run", {"train.steps=3"});
  const auto files = everything_in(micro.folder().path());
  const std::string config = bytes_of_file(micro / "run/config.yaml");
  const Ended ended =
      micro.train("run", {"train.steps=3", "optim.lr=5e-3", "log.every=2", "--or-resume"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.last_line(), HasSubstr("optim.lr (0.004 there, 0.005 here)"));
  EXPECT_THAT(ended.last_line(), HasSubstr("log.every (3 there, 2 here)"));
  EXPECT_THAT(ended.last_line(), HasSubstr("shoal resume"));
  EXPECT_EQ(everything_in(micro.folder().path()), files);
  EXPECT_EQ(bytes_of_file(micro / "run/config.yaml"), config);
  // Without the flag it stays as it was.
  EXPECT_EQ(micro.train("run", {"train.steps=3"}).code, 2);
}

TEST(Resume, OfAFinishedRunSaysSo) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  const auto files = everything_in(micro / "run");
  const std::string metrics = bytes_of_file(micro / "run/metrics.jsonl");
  const Ended ended = run_program({"resume", micro / "run"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.last_line(), HasSubstr("is finished at step 24"));
  EXPECT_EQ(everything_in(micro / "run"), files);
  EXPECT_EQ(bytes_of_file(micro / "run/metrics.jsonl"), metrics);
}

TEST(Resume, WithoutACheckpointStartsAtStep0) {
  const MicroRun micro;
  micro.train_to_the_end("undisturbed");
  Program program(micro.train_arguments("run"));
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= 2; }));
  program.signal(SIGKILL);
  program.wait();
  ASSERT_TRUE(checkpoints_of(micro / "run").empty());
  for (const std::string command : {"eval", "verify", "inspect"}) {
    const Ended asked = run_program({command, micro / "run"});
    EXPECT_EQ(asked.code, 3);
    EXPECT_THAT(asked.last_line(), HasSubstr("holds no checkpoint yet")) << command;
  }
  const Ended ended = run_program({"resume", micro / "run"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("starting at step 0"));
  expect_equal_runs(micro / "run", micro / "undisturbed");
}

TEST(Resume, OfAnOlderCheckpointGoesBackOnce) {
  const MicroRun micro;
  micro.train_to_the_end("undisturbed");
  micro.train_to_the_end("run");
  ASSERT_EQ(checkpoints_of(micro / "run"), (std::vector<std::int64_t>{15, 20, 24}));
  const Ended missing = run_program({"resume", micro / "run", "checkpoint.step=7"});
  EXPECT_EQ(missing.code, 3);
  EXPECT_THAT(missing.last_line(), HasSubstr("no checkpoint of step 7"));

  Program program({"resume", micro / "run", "checkpoint.step=15"});
  ASSERT_TRUE(wait_until(program, [&] {
    const std::int64_t step = last_step(micro / "run");
    return step > 15 && step < MicroRun::kSteps;
  }));
  program.signal(SIGKILL);
  program.wait();
  ASSERT_LT(last_step(micro / "run"), MicroRun::kSteps);
  // What comes after has been given up, so that metrics and checkpoints tell one story, and the
  // next resume goes on instead of back.
  const std::int64_t newest = checkpoints_of(micro / "run").back();
  EXPECT_THAT(newest, testing::AnyOf(15, 20));
  const Ended ended = run_program({"resume", micro / "run"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr(concat("resumed at step ", newest)));
  expect_equal_runs(micro / "run", micro / "undisturbed");
  const Ended again = run_program({"resume", micro / "run"});
  EXPECT_THAT(again.last_line(), HasSubstr("is finished at step 24"));
}

TEST(Resume, RefusesKeysThatChangeNumbersUnlessForked) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  const auto files = everything_in(micro.folder().path());
  const std::string config = bytes_of_file(micro / "run/config.yaml");
  const Ended refused =
      run_program({"resume", micro / "run", "optim.lr=5e-3", "train.steps=30", "log.every=2"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.last_line(), HasSubstr("optim.lr"));
  EXPECT_THAT(refused.last_line(), HasSubstr("train.steps"));
  EXPECT_THAT(refused.last_line(), Not(HasSubstr("log.every")));
  EXPECT_THAT(refused.last_line(), HasSubstr("--fork"));
  EXPECT_EQ(everything_in(micro.folder().path()), files);
  EXPECT_EQ(bytes_of_file(micro / "run/config.yaml"), config);

  const Ended forked = run_program(
      {"resume", micro / "run", "optim.lr=5e-3", "train.steps=30", "--fork", micro / "fork"});
  ASSERT_EQ(forked.code, 0) << forked.err;
  EXPECT_EQ(last_step(micro / "fork"), 30);
  EXPECT_EQ(lines_of(micro / "fork", "step").size(), 30U);  // with its parent's
  EXPECT_EQ(bytes_of_file(micro / "run/config.yaml"), config);
  EXPECT_EQ(last_step(micro / "run"), 24);
  const Ended taken = run_program({"resume", micro / "run", "--fork", micro / "fork"});
  EXPECT_EQ(taken.code, 2);
  EXPECT_THAT(taken.last_line(), HasSubstr("holds a run already"));
}

// A fork that is killed before it saves must not begin at step 0 when it is resumed.
TEST(Resume, AForkHoldsItsBeginning) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  Program program({"resume", micro / "run", "train.steps=1000000", "checkpoint.every_steps=0",
                   "--fork", micro / "fork"});
  ASSERT_TRUE(wait_until(program, [&] { return fs::exists(micro / "fork/config.yaml"); }));
  program.signal(SIGKILL);
  program.wait();
  ASSERT_EQ(checkpoints_of(micro / "fork"), std::vector<std::int64_t>{24});
  const auto before = state_of(micro / "run"), after = state_of(micro / "fork");
  EXPECT_EQ(before, after);
}

// Weights to start from are needed at the start alone.
TEST(Resume, NeedsNoInitialWeights) {
  const MicroRun micro;
  micro.train_to_the_end("first", {"train.steps=3"});
  micro.train_to_the_end("run", {"train.init_from=" + (micro / "first"), "train.steps=5"});
  const auto state = state_of(micro / "run");
  EXPECT_NE(state.at("/model/embed/weight"), state_of(micro / "first").at("/model/embed/weight"));
  fs::remove_all(micro / "first");
  const Ended ended = run_program({"resume", micro / "run"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.last_line(), HasSubstr("is finished at step 5"));
}

TEST(Resume, OfARunInUseNamesItsProcess) {
  const MicroRun micro;
  Program program(micro.train_arguments("run", kEndless));
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= 1; }));
  const Ended ended = run_program({"resume", micro / "run"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.last_line(), HasSubstr(concat("pid ", program.pid())));
  const Ended second = micro.train("run");
  EXPECT_EQ(second.code, 2);
  EXPECT_THAT(second.last_line(), HasSubstr("holds a run already"));
  EXPECT_TRUE(program.running());
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait().code, 75);
  EXPECT_EQ(run_program({"verify", micro / "run"}).code, 0);
}

TEST(Resume, OfAMovedRunGoesOn) {
  const MicroRun micro;
  micro.train_to_the_end("undisturbed");
  Program program(micro.train_arguments("run"));
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= 4; }));
  program.signal(SIGTERM);
  ASSERT_EQ(program.wait().code, 75);
  fs::rename(micro / "run", micro / "moved");
  const Ended ended = run_program({"resume", micro / "moved"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  expect_equal_runs(micro / "moved", micro / "undisturbed");
  EXPECT_FALSE(fs::exists(micro / "run"));
}

// Numbers would go on from other text: said, not done.
TEST(Resume, WithAnotherCorpusIsRefused) {
  const MicroRun micro;
  Program program(micro.train_arguments("run"));
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= 2; }));
  program.signal(SIGTERM);
  ASSERT_EQ(program.wait().code, 75);
  std::ofstream(micro / "corpus.txt", std::ios::app) << "\n\nanother day\n";
  const std::string metrics = bytes_of_file(micro / "run/metrics.jsonl");
  const Ended ended = run_program({"resume", micro / "run"});
  EXPECT_EQ(ended.code, 3);
  EXPECT_THAT(ended.last_line(), HasSubstr("other data"));
  EXPECT_EQ(bytes_of_file(micro / "run/metrics.jsonl"), metrics);
}

}  // namespace
}  // namespace shoal

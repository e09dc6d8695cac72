// What a run says of itself beside its numbers: how it began, how it ended, where it comes from.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "tests/support/micro_run.h"
#include "train/config/load_config.h"
#include "train/config/show_config.h"
#include "train/metrics/event_record.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

std::vector<EventRecord> events_of(const std::string& run, const std::string& name) {
  std::vector<EventRecord> events;
  for (const std::string& line : lines_of(run, "event")) {
    EventRecord event = *event_of(*parse_line(line));
    if (event.event == name) events.push_back(std::move(event));
  }
  return events;
}

std::string report_of(const std::string& run) { return bytes_of_file(run + "/report.html"); }

TEST(RunRecords, StartSaysWhatWasRunAndEndHowItWent) {
  const MicroRun micro;
  micro.train_to_the_end("run", {}, {.threads = 2});
  const auto starts = events_of(micro / "run", "start"), ends = events_of(micro / "run", "end");
  ASSERT_EQ(starts.size(), 1U);
  ASSERT_EQ(ends.size(), 1U);
  const Json& start = starts[0].fields;
  EXPECT_EQ(starts[0].step, 0);
  EXPECT_EQ(start.at("parameters"), 55022);
  EXPECT_EQ(start.at("threads"), 2);
  EXPECT_GT(start.at("planned_bytes"), 55022 * 4);
  EXPECT_GT(start.at("peak_gflops"), 0.0);
  EXPECT_THAT(start.at("commit").get<std::string>(),
              testing::MatchesRegex("unknown|[0-9a-f]+(-dirty)?"));
  const RunConfig config = load_config(micro / "run/config.yaml", {}, {.needs_data = true});
  EXPECT_EQ(start.at("config_hash"), config_hash(config));
  EXPECT_THAT(run_program({"--version"}).out,
              HasSubstr("commit     " + start.at("commit").get<std::string>()));

  const Json& end = ends[0].fields;
  EXPECT_EQ(ends[0].step, 24);
  EXPECT_EQ(end.at("reason"), "done");
  EXPECT_GT(end.at("peak_resident_bytes"), 4 << 20);
  const auto seconds = [&](const char* name) { return end.at(name).get<double>(); };
  double steps = 0.0, evals = 0.0;
  for (const std::string& line : lines_of(micro / "run", "step")) {
    steps += step_of(*parse_line(line))->step_seconds;
  }
  for (const std::string& line : lines_of(micro / "run", "eval")) {
    evals += eval_of(*parse_line(line))->eval_seconds;
  }
  EXPECT_GE(seconds("train_seconds"), 0.99 * steps);
  EXPECT_GE(seconds("eval_seconds"), evals);
  EXPECT_GT(seconds("save_seconds"), 0.0);
  EXPECT_GE(seconds("run_seconds"),
            seconds("train_seconds") + seconds("eval_seconds") + seconds("save_seconds"));
  EXPECT_NEAR(seconds("tokens_per_second") * seconds("run_seconds"), 24 * 192, 1.0);

  const std::string report = report_of(micro / "run");
  EXPECT_THAT(report, HasSubstr("55,022 parameters"));
  EXPECT_THAT(report, HasSubstr("threads: 2, cores: "));
  EXPECT_THAT(report, HasSubstr(start.at("commit").get<std::string>()));
  EXPECT_THAT(report, HasSubstr(start.at("config_hash").get<std::string>().substr(0, 16)));
  EXPECT_THAT(report, HasSubstr(" MiB at the most"));
}

TEST(RunRecords, AResumeRecordsWhatIsChanged) {
  const MicroRun micro;
  const std::vector<std::string> endless = {"train.steps=0", "train.minutes=100",
                                            "checkpoint.every_steps=2"};
  Program program(micro.train_arguments("run", endless));
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= 3; }));
  program.signal(SIGTERM);
  ASSERT_EQ(program.wait().code, 75);
  const Json end = events_of(micro / "run", "end").at(0).fields;
  EXPECT_EQ(end.at("reason"), "signal");
  // Some steps more than it has had.
  const double minutes = end.at("run_seconds").get<double>() / 60.0 + 0.001;
  const Ended ended =
      run_program({"resume", micro / "run", "train.minutes=" + std::to_string(minutes),
                   "log.every=2", "checkpoint.keep=3"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(events_of(micro / "run", "start").size(), 2U);
  const auto resumes = events_of(micro / "run", "resume");
  ASSERT_EQ(resumes.size(), 1U);
  const Json changed = resumes[0].fields.at("changed");
  EXPECT_EQ(changed.size(), 2U);
  EXPECT_EQ(changed.at("train.minutes").at("old"), 100.0);
  EXPECT_EQ(line_of(changed.at("log.every")), R"({"old":3,"new":2})");
  EXPECT_THAT(report_of(micro / "run"), HasSubstr("log.every: 3 -&gt; 2"));
}

TEST(RunRecords, AResumeWithoutChangesSaysNone) {
  const MicroRun micro;
  Program program(micro.train_arguments("run"));
  ASSERT_TRUE(wait_until(program, [&] { return last_step(micro / "run") >= 3; }));
  program.signal(SIGTERM);
  ASSERT_EQ(program.wait().code, 75);
  ASSERT_EQ(run_program({"resume", micro / "run"}).code, 0);
  const auto resumes = events_of(micro / "run", "resume");
  ASSERT_EQ(resumes.size(), 1U);
  EXPECT_TRUE(resumes[0].fields.empty()) << line_of(resumes[0].fields);
  const auto ends = events_of(micro / "run", "end");
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_GT(ends[1].fields.at("train_seconds"), ends[0].fields.at("train_seconds"));
}

// Its parent may be deleted: the curve lies in the fork.
TEST(RunRecords, AForkHoldsItsParentsCurve) {
  const MicroRun micro;
  micro.train_to_the_end("parent");
  const Ended forked = run_program({"resume", micro / "parent", "checkpoint.step=15",
                                    "optim.lr=5e-3", "train.steps=20", "--fork", micro / "fork"});
  ASSERT_EQ(forked.code, 0) << forked.err;
  const auto parents = numbers_of(micro / "parent"), own = numbers_of(micro / "fork");
  ASSERT_EQ(lines_of(micro / "fork", "step").size(), 20U);
  for (std::size_t i = 0; i < own.size(); ++i) {
    const std::int64_t step = parse_line(own[i])->at("step").get<std::int64_t>();
    if (step > 15) break;
    EXPECT_EQ(own[i], parents[i]);
  }
  const auto forks = events_of(micro / "fork", "fork");
  ASSERT_EQ(forks.size(), 1U);
  EXPECT_EQ(forks[0].step, 15);
  EXPECT_EQ(forks[0].fields.at("parent"), micro / "parent");
  EXPECT_EQ(line_of(forks[0].fields.at("changed")["optim.lr"]), R"({"old":0.004,"new":0.005})");
  EXPECT_TRUE(events_of(micro / "fork", "resume").empty());
  EXPECT_EQ(events_of(micro / "parent", "fork").size(), 0U);

  fs::remove_all(micro / "parent");
  ASSERT_EQ(run_program({"report", micro / "fork"}).code, 0);
  const std::string report = report_of(micro / "fork");
  EXPECT_THAT(report, HasSubstr((micro / "parent") + ", at step 15; "));
  EXPECT_THAT(report, HasSubstr("optim.lr: 0.004 -&gt; 0.005"));
  EXPECT_THAT(report, HasSubstr(">fork</text>"));
  // A fork that goes on keeps it, and a fork of the fork has both.
  ASSERT_EQ(
      run_program({"resume", micro / "fork", "train.steps=22", "--fork", micro / "again"}).code, 0);
  EXPECT_EQ(lines_of(micro / "again", "step").size(), 22U);
  EXPECT_EQ(events_of(micro / "again", "fork").size(), 2U);
}

TEST(RunRecords, MinutesThatEndARunBeforeItsDecayAreSaid) {
  const MicroRun micro;
  const Ended ended =
      micro.train("run", {"train.steps=1000000", "train.minutes=0.003", "optim.warmup_steps=0"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.last_line(), HasSubstr("done at step "));
  EXPECT_THAT(ended.last_line(), HasSubstr("before the learning rate had decayed"));
  EXPECT_EQ(events_of(micro / "run", "undecayed").size(), 1U);
  EXPECT_EQ(events_of(micro / "run", "end").at(0).fields.at("reason"), "minutes");
  EXPECT_THAT(report_of(micro / "run"), HasSubstr("train.minutes (0.003) ended it before"));
  const Ended again = run_program({"resume", micro / "run"});
  EXPECT_EQ(again.code, 0);
  EXPECT_THAT(again.last_line(), HasSubstr("to train on, raise train.minutes (0.003)"));
}

TEST(RunRecords, AFinishedRunNamesTheKeyToRaise) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  const Ended again = run_program({"resume", micro / "run"});
  EXPECT_EQ(again.code, 0);
  EXPECT_THAT(again.last_line(), HasSubstr("finished at step 24; nothing to do: to train on, raise "
                                           "train.steps (24) and add --fork"));
}

TEST(RunRecords, AWarmUpThatIsNeverOverIsSaid) {
  const MicroRun micro;
  const Ended ended = micro.train("run", {"optim.warmup_steps=100"});
  EXPECT_EQ(ended.code, 0);
  EXPECT_THAT(ended.err, HasSubstr("never reaches optim.lr"));
  EXPECT_EQ(events_of(micro / "run", "warning").size(), 1U);
  EXPECT_THAT(report_of(micro / "run"), HasSubstr("never reaches optim.lr"));
}

TEST(RunRecords, ARunThatDivergesSaysSo) {
  const MicroRun micro;
  for (const char* residual : {"hc", "mhc", "plain"}) {
    const std::string run = micro / residual;
    const Ended ended = micro.train(
        residual, {concat("model.residual=", residual), "optim.lr=10", "optim.end_lr=10",
                   "optim.decay_share=0", "optim.clip=0", "train.steps=60"});
    ASSERT_EQ(ended.code, 0) << ended.err;
    EXPECT_THAT(ended.last_line(), HasSubstr("it has diverged")) << residual;
    EXPECT_EQ(events_of(run, "diverged").size(), 1U) << residual;
    EXPECT_THAT(report_of(run), HasSubstr("it has diverged"));
  }
  micro.train_to_the_end("healthy", {"train.steps=60"});
  micro.train_to_the_end("short", {"train.steps=3", "optim.warmup_steps=50"});
  for (const char* run : {"healthy", "short"}) {
    EXPECT_TRUE(events_of(micro / run, "diverged").empty()) << run;
  }
}

}  // namespace
}  // namespace shoal

// Runs on synthetic tasks, from the command line.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

const std::string kCopy = "data.train=[{task: copy, length: 6, loss_on: answer, episodes: 10}]";
const std::string kNoMtp = "model.num_nextn_predict_layers=0";

TEST(TaskRun, WritesAnswerAccuracyAndNoBitsPerByte) {
  const MicroRun micro;
  micro.train_to_the_end("a", {kCopy, kNoMtp});
  const std::vector<std::string> evals = lines_of(micro / "a", "eval");
  ASSERT_EQ(evals.size(), 4U);
  const Json last = *parse_line(evals.back());
  EXPECT_TRUE(last.at("bits_per_byte").is_null());
  EXPECT_EQ(last.at("answers"), 60);
  EXPECT_EQ(last.at("tokens"), 60);
  EXPECT_GE(last.at("answer_accuracy").get<double>(), 0.0);
  EXPECT_LE(last.at("answer_accuracy").get<double>(), 1.0);

  const Ended json = run_program({"eval", micro / "a", "--json"});
  ASSERT_EQ(json.code, 0) << json.err;
  Json want = last;
  want.erase("time");
  want.erase("eval_seconds");
  EXPECT_EQ(Json::parse(json.out), want);
  EXPECT_THAT(run_program({"eval", micro / "a"}).out, HasSubstr("% of 60 answer tokens right"));
  EXPECT_THAT(bytes_of_file(micro / "a/log.txt"), HasSubstr("answer tokens right"));
  const std::string report = bytes_of_file(micro / "a/report.html");
  EXPECT_THAT(report, HasSubstr("Share of held-out answer tokens"));
  EXPECT_THAT(report, testing::Not(HasSubstr("Bits per byte")));
}

// MTP reads the tokens whose prediction does not count, and is held to the answers alone.
TEST(TaskRun, TrainsMtpOnAnswersAlone) {
  const MicroRun micro;
  micro.train_to_the_end("a", {kCopy, "model.num_nextn_predict_layers=1", "train.steps=4"});
  for (const std::string& line : lines_of(micro / "a", "step")) {
    EXPECT_GT(parse_line(line)->at("mtp").get<double>(), 0.0);
  }
}

// A text run has no such field.
TEST(TaskRun, IsNotWhatATextRunLooksLike) {
  const MicroRun micro;
  micro.train_to_the_end("a", {"train.steps=2"});
  const Json last = *parse_line(lines_of(micro / "a", "eval").back());
  EXPECT_FALSE(last.contains("answer_accuracy"));
  EXPECT_TRUE(last.at("bits_per_byte").is_number());
}

TEST(TaskRun, HasEqualBitsWhenStoppedAndForAnyThreads) {
  const MicroRun micro;
  const std::string needle = "data.train=[{task: needle, pairs: 2}]";
  micro.train_to_the_end("whole", {needle, "optim.decay_share=0"});
  micro.train_to_the_end("parts",
                         {needle, "optim.decay_share=0", "train.steps=11", "train.eval_every=7"});
  const Ended ended = run_program({"resume", micro / "parts", "train.steps=24"}, {.threads = 3});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(state_of(micro / "parts"), state_of(micro / "whole"));
}

TEST(TaskRun, ValidatesOnAnotherTask) {
  const MicroRun micro;
  micro.train_to_the_end("a", {kCopy, kNoMtp, "train.steps=2",
                               "data.validation=[{task: mqar, pairs: 2, episodes: 3}]"});
  EXPECT_EQ(parse_line(lines_of(micro / "a", "eval").back())->at("answers"), 6);
  micro.train_to_the_end("b", {kCopy, kNoMtp, "train.steps=2", "data.validation=0"});
  EXPECT_EQ(lines_of(micro / "b", "eval").size(), 0U);
}

TEST(TaskRun, WithImpossibleSizesLeavesNoFolder) {
  const MicroRun micro;
  const Ended ended = micro.train("a", {"data.train=[{task: needle, max_distance: 30}]"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.last_line(), HasSubstr("use at most 20"));
  EXPECT_THAT(everything_in(micro / "a"), testing::IsEmpty());
}

}  // namespace
}  // namespace shoal

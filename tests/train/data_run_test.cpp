// What runs say and remember of their data: moved and edited corpora, sources, shares.
#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<Json> events(const std::string& run, const std::string& name) {
  std::vector<Json> found;
  for (const std::string& line : lines_of(run, "event")) {
    Json json = *parse_line(line);
    if (json.at("event") == name) found.push_back(std::move(json));
  }
  return found;
}

std::string in_list(const std::string& key, const std::string& path) {
  return key + "=[" + path + "]";
}

// Stopped at step 10 of 24 by its number of steps, which may be raised: no decay is placed by it.
const std::vector<std::string> kShort = {"train.steps=10", "optim.decay_share=0"};

TEST(DataRun, ACorpusMayMoveAndBeRenamedButNotChange) {
  const MicroRun micro;
  micro.train_to_the_end("whole", {"optim.decay_share=0"});
  micro.train_to_the_end("run", kShort);
  const std::string moved = micro / "elsewhere/renamed";
  fs::create_directory(micro / "elsewhere");
  fs::rename(micro / "corpus.txt", moved);
  const auto resume = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"resume", micro / "run", "train.steps=24"});
    return run_program(more);
  };
  EXPECT_EQ(resume({}).code, 3);
  const std::string text = bytes_of_file(moved);
  const std::string other = micro.folder().write("other.txt", text + "\n\nand one document more\n");
  const Ended refused = resume({in_list("data.train", other)});
  EXPECT_EQ(refused.code, 3) << refused.err;
  EXPECT_THAT(refused.last_line(),
              AllOf(HasSubstr("was trained on other data"), HasSubstr("--fork")));
  const Ended weighted = resume({"data.train=[{path: " + moved + ", weight: 2}]"});
  EXPECT_EQ(weighted.code, 2);
  EXPECT_THAT(weighted.last_line(), HasSubstr("data.train"));
  // Two files with the same documents in the same order.
  const std::size_t middle = text.find("\n\n", text.size() / 2) + 2;
  const std::string first = micro.folder().write("p1", text.substr(0, middle)),
                    second = micro.folder().write("p2", text.substr(middle));
  const Ended resumed = resume({in_list("data.train", first + ", " + second)});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  expect_equal_runs(micro / "run", micro / "whole");
}

TEST(DataRun, AnEditedValidationIsSaidAndRecorded) {
  const MicroRun micro;
  const std::string v = micro.folder().write("v.txt", "the king said\n\nand the day\n");
  std::vector<std::string> overrides = kShort;
  overrides.push_back(in_list("data.validation", v));
  micro.train_to_the_end("run", overrides);
  const auto resume = [&](const std::string& steps, const std::string& files) {
    return run_program(
        {"resume", micro / "run", "train.steps=" + steps, in_list("data.validation", files)});
  };
  // Moved: nothing to say.
  const std::string moved = micro / "moved.txt";
  fs::rename(v, moved);
  const Ended same = resume("12", moved);
  EXPECT_EQ(same.code, 0) << same.err;
  EXPECT_THAT(same.err, Not(HasSubstr("other text than before")));
  EXPECT_TRUE(events(micro / "run", "validation_changed").empty());
  micro.folder().write("moved.txt", "zzz\n");
  const Ended edited = resume("14", moved);
  EXPECT_EQ(edited.code, 0) << edited.err;
  EXPECT_THAT(edited.err, HasSubstr("data.validation holds other text than before"));
  ASSERT_EQ(events(micro / "run", "validation_changed").size(), 1U);
  EXPECT_EQ(events(micro / "run", "validation_changed")[0].at("step"), 12);
  // Said once.
  EXPECT_THAT(resume("16", moved).err, Not(HasSubstr("other text than before")));
}

TEST(DataRun, SourcesAreRecordedAndEvaluatedEach) {
  const MicroRun micro;
  const std::string text = bytes_of_file(micro / "corpus.txt");
  const std::size_t middle = text.find("\n\n", text.size() / 2) + 2;
  const std::string a = micro.folder().write("a.txt", text.substr(0, middle)),
                    b = micro.folder().write("b.txt", text.substr(middle));
  micro.train_to_the_end("run", {"data.train=[" + a + ", {path: " + b + ", weight: 3}]"});
  const std::vector<Json> data = events(micro / "run", "data");
  ASSERT_EQ(data.size(), 1U);
  EXPECT_EQ(data[0].at("sources").at(0).at("source"), "a.txt");
  EXPECT_EQ(data[0].at("sources").at(1).at("samples"), 0.75);
  EXPECT_GT(data[0].at("sources").at(1).at("epochs").get<double>(), 1.0);
  EXPECT_EQ(data[0].at("held_out_asked"), 0.165);
  const Json eval = *parse_line(lines_of(micro / "run", "eval").back());
  ASSERT_EQ(eval.at("sources").size(), 2U);
  EXPECT_EQ(eval.at("sources")[0].at("bytes").get<std::int64_t>() +
                eval.at("sources")[1].at("bytes").get<std::int64_t>(),
            eval.at("bytes"));
  const Ended said = run_program({"eval", micro / "run"});
  EXPECT_THAT(said.out, AllOf(HasSubstr("  a.txt: loss "), HasSubstr("  b.txt: loss ")));
  EXPECT_THAT(bytes_of_file(micro / "run/report.html"),
              AllOf(HasSubstr("a.txt"), HasSubstr("b.txt")));
  const std::string log = bytes_of_file(micro / "run/log.txt");
  EXPECT_THAT(micro.train("again", {"train.steps=1", "optim.warmup_steps=0"}).err,
              AllOf(HasSubstr("held out: "), HasSubstr("epochs")));
}

TEST(DataRun, EvalSaysWhatWasTrainedOn) {
  const MicroRun micro;
  micro.train_to_the_end("none", {"train.steps=2", "data.validation=0"});
  micro.train_to_the_end("some", {"train.steps=2"});
  const auto eval = [&](const std::string& run, std::vector<std::string> more) {
    more.insert(more.begin(), {"eval", micro / run});
    return run_program(more);
  };
  const Ended refused = eval("none", {});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.last_line(), AllOf(HasSubstr("was trained on all of data.train"),
                                         HasSubstr("data.validation=[FILE]")));
  EXPECT_THAT(refused.last_line(), Not(HasSubstr("0.05")));
  EXPECT_THAT(eval("none", {"data.validation=0.5"}).err,
              HasSubstr("all the documents that are held out now it has learned"));
  EXPECT_THAT(eval("some", {"data.validation=0.33"}).err,
              HasSubstr("about 50.0 % of the documents"));
  EXPECT_THAT(eval("some", {}).err, Not(HasSubstr("learned")));
  EXPECT_THAT(eval("some", {"data.validation=0.15"}).err, Not(HasSubstr("learned")));
  // Nor does a run that begins with the weights, or a fork.
  EXPECT_THAT(micro
                  .train("begun", {"train.steps=1", "optim.warmup_steps=0",
                                   "train.init_from=" + (micro / "none")})
                  .err,
              HasSubstr("it has learned"));
  EXPECT_THAT(run_program({"resume", micro / "some", "--fork", micro / "fork", "train.steps=3",
                           "data.validation=0.33"})
                  .err,
              HasSubstr("it has learned"));
  EXPECT_THAT(eval("some", {in_list("data.validation", micro / "corpus.txt")}).err,
              HasSubstr("in data.train and in data.validation"));
}

TEST(DataRun, RunsInsideTheCorpusAreNotReadOnResume) {
  const MicroRun micro;
  fs::create_directory(micro / "d");
  fs::rename(micro / "corpus.txt", micro / "d/corpus.txt");
  std::vector<std::string> overrides = kShort;
  overrides.insert(overrides.end(), {in_list("data.train", micro / "d"), "data.validation=0"});
  micro.train_to_the_end("d/runs/x", overrides);
  const Ended resumed = run_program({"resume", micro / "d/runs/x", "train.steps=12"});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.err, HasSubstr("1 run(s) of this program left out"));
}

}  // namespace
}  // namespace shoal

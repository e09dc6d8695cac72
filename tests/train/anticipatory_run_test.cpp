// Runs whose experts are chosen by earlier parameters.
#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;
using Settings = std::vector<std::string>;

// Sequences of 32, of 64 from step 6 on, of 16 from step 13 on.
const Settings kLagged = {
    "stability.anticipatory={mode: always, lag: 4}",
    "train.stages=[{from_step: 6, sequence_length: 64, batch_tokens: 256, micro_batch: 1}, "
    "{from_step: 13, sequence_length: 16, batch_tokens: 128, micro_batch: 4}]"};

Settings lagged_and(const Settings& more) {
  Settings all = kLagged;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<std::string> switches_of(const std::string& run) {
  std::vector<std::string> seen;
  for (const std::string& line : lines_of(run, "event")) {
    const Json event = *parse_line(line);
    const std::string name = event.at("event");
    if (name.starts_with("anticipatory_"))
      seen.push_back(event.at("step").dump() + name.substr(12));
  }
  return seen;
}

TEST(AnticipatoryRun, HasEqualBitsWhereverItIsResumed) {
  const MicroRun micro;
  micro.train_to_the_end("whole", kLagged, {.threads = 2});
  EXPECT_THAT(switches_of(micro / "whole"), testing::ElementsAre("0_on"));
  micro.train_to_the_end("recomputed", lagged_and({"train.recompute=block"}), {.threads = 3});
  EXPECT_EQ(numbers_of(micro / "recomputed"), numbers_of(micro / "whole"));
  micro.train_to_the_end("parts", lagged_and({"checkpoint.every_steps=1", "checkpoint.keep=100"}));
  EXPECT_EQ(numbers_of(micro / "parts"), numbers_of(micro / "whole"));
  for (const int step : {23, 20, 15, 12, 9, 6, 5, 4, 3, 2, 1}) {
    const Ended ended = run_program({"resume", micro / "parts", concat("checkpoint.step=", step)},
                                    {.threads = 1 + step % 3});
    ASSERT_EQ(ended.code, 0) << ended.err;
    EXPECT_EQ(numbers_of(micro / "parts"), numbers_of(micro / "whole")) << step;
    EXPECT_EQ(state_of(micro / "parts"), state_of(micro / "whole")) << step;
    EXPECT_THAT(switches_of(micro / "parts"), testing::ElementsAre("0_on"));
  }
}

// And the lag is seen at all; evaluations route normally, as `eval` does.
TEST(AnticipatoryRun, LagZeroIsNormalTraining) {
  const MicroRun micro;
  micro.train_to_the_end("normal");
  micro.train_to_the_end("zero", {"stability.anticipatory={mode: always, lag: 0}"});
  micro.train_to_the_end("lagged", {"stability.anticipatory={mode: always, lag: 2}"});
  EXPECT_EQ(numbers_of(micro / "zero"), numbers_of(micro / "normal"));
  EXPECT_NE(numbers_of(micro / "lagged"), numbers_of(micro / "normal"));
  const Ended eval = run_program({"eval", micro / "lagged", "--json"});
  ASSERT_EQ(eval.code, 0) << eval.err;
  Json said = *parse_line(lines_of(micro / "lagged", "eval").back());
  said.erase("time");
  said.erase("eval_seconds");
  EXPECT_EQ(Json::parse(eval.out), said);
}

TEST(AnticipatoryRun, AForkMayBeginAndEndIt) {
  const MicroRun micro;
  micro.train_to_the_end("normal");
  const auto fork = [&](const std::string& from, const std::string& to, int step,
                        const std::string& mode) {
    const Ended ended = run_program({"resume", micro / from, concat("checkpoint.step=", step),
                                     concat("stability.anticipatory={mode: ", mode, ", lag: 3}"),
                                     "--fork", micro / to});
    ASSERT_EQ(ended.code, 0) << ended.err;
  };
  fork("normal", "lagged", 15, "always");
  EXPECT_THAT(switches_of(micro / "lagged"), testing::ElementsAre("15_on"));
  EXPECT_NE(numbers_of(micro / "lagged"), numbers_of(micro / "normal"));
  fork("lagged", "again", 20, "off");
  EXPECT_THAT(switches_of(micro / "again"), testing::ElementsAre("15_on", "20_off"));
}

TEST(AnticipatoryRun, RefusesWhatCannotBe) {
  const MicroRun micro;
  const auto refused = [&](const std::string& keys, const std::string& says) {
    const Ended ended = micro.train("a", {concat("stability.anticipatory={", keys, "}")});
    EXPECT_EQ(ended.code, 2) << keys;
    EXPECT_THAT(ended.err, HasSubstr(says)) << keys;
    EXPECT_FALSE(std::filesystem::exists(micro / "a")) << keys;
  };
  refused("mode: always, lag: 24",
          "stability.anticipatory.lag: 24 is never reached: the run ends after 24 steps; use at "
          "most 23");
  refused("mode: on_spike, lag: 24", "use at most 23");
  refused("mode: always, lag: -1", "stability.anticipatory.lag: -1 is out of range");
  refused("mode: sometimes", "stability.anticipatory.mode: 'sometimes'");
  refused("mode: on_spike, steps: 0", "stability.anticipatory.steps: 0 is out of range");
  refused("drain: slow", "stability.anticipatory.drain: 'slow'");
  // Off, a lag is only a number.
  EXPECT_EQ(micro.train("b", {"stability.anticipatory.lag=100", "train.steps=2"}).code, 0);
  const Ended memory =
      micro.train("c", {"train.steps=0", "train.minutes=1", "train.batch_tokens=192000",
                        "stability.anticipatory={mode: always, lag: 1000000}"});
  EXPECT_EQ(memory.code, 2);
  EXPECT_THAT(memory.err, HasSubstr("lower stability.anticipatory.lag (now 1000000)"));
}

TEST(AnticipatoryRun, IsTimedByBenchStep) {
  const MicroRun micro;
  const Ended ended = run_program(
      {"bench", "step", micro.config(), "--json", "stability.anticipatory={mode: always, lag: 2}"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_GT(Json::parse(ended.out).at("step_seconds").get<double>(), 0.0);
}

}  // namespace
}  // namespace shoal

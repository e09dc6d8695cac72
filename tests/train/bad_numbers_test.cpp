// Numbers that go bad: the run says where, and keeps its last good state.
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "tests/support/micro_run.h"
#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/store.h"
#include "train/metrics/event_record.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

using testing::HasSubstr;

bool all_finite(const std::string& run) {
  PosixIo io;
  for (const LoadedArray& array : read_stored(io, run).state.arrays) {
    if (array.type != StateType::kF32) continue;
    for (std::size_t at = 0; at < array.bytes.size(); at += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, array.bytes.data() + at, sizeof value);
      if (!std::isfinite(value)) return false;
    }
  }
  return true;
}

// The first update throws the weights so far that the second step overflows.
const std::vector<std::string> kAbsurd = {"optim.lr=1e30", "optim.clip=0", "optim.warmup_steps=0"};

std::vector<std::string> absurd(const std::vector<std::string>& more) {
  std::vector<std::string> all = kAbsurd;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(BadNumbers, StopNamesStepLayerAndTensor) {
  const MicroRun micro;
  for (const std::string matrices : {"muon", "adamw"}) {
    const std::string run = micro / matrices;
    const Ended ended = micro.train(matrices, absurd({"optim.matrices=" + matrices}));
    EXPECT_EQ(ended.code, 4) << ended.err;
    EXPECT_THAT(ended.last_line(), HasSubstr("step 2: "));
    EXPECT_THAT(ended.last_line(), testing::ContainsRegex("gradient of [a-z0-9_.]+ is not finite"));
    EXPECT_THAT(ended.last_line(), testing::ContainsRegex("in (layers|mtp)\\.[01]"));
    EXPECT_THAT(ended.last_line(), HasSubstr("weights were not changed"));
    // The last good state is there, and nothing else.
    EXPECT_EQ(checkpoints_of(run), std::vector<std::int64_t>{1});
    EXPECT_TRUE(all_finite(run));
    EXPECT_EQ(last_step(run), 1);
    EXPECT_EQ(lines_of(run, "eval").size(), 0U);
    const auto events = lines_of(run, "event");
    EXPECT_THAT(events, testing::Contains(HasSubstr("\"event\":\"bad_numbers\"")));
    EXPECT_NE(bytes_of_file(run + "/report.html"), "");
  }
}

TEST(BadNumbers, AtTheFirstStepSaveNothing) {
  const MicroRun micro;
  const Ended ended = micro.train("run", {"model.init.std=1e30"});
  EXPECT_EQ(ended.code, 4) << ended.err;
  EXPECT_THAT(ended.last_line(), HasSubstr("step 1: "));
  EXPECT_THAT(checkpoints_of(micro / "run"), testing::IsEmpty());
}

TEST(BadNumbers, SkipGivesUpAfterTenInARow) {
  const MicroRun micro;
  const Ended ended = micro.train("run", absurd({"stability.on_bad_numbers=skip"}));
  EXPECT_EQ(ended.code, 4) << ended.err;
  EXPECT_THAT(ended.last_line(), HasSubstr("10 steps skipped in a row"));
  int skips = 0;
  for (const std::string& line : lines_of(micro / "run", "event")) {
    const auto event = event_of(*parse_line(line));
    if (event->event != "skip") continue;
    ++skips;
    EXPECT_EQ(event->step, 1);
    EXPECT_EQ(event->fields.at("attempted_step"), 2);
    EXPECT_THAT(event->fields.at("reason").get<std::string>(), HasSubstr("not finite"));
  }
  EXPECT_EQ(skips, 10);
  EXPECT_EQ(checkpoints_of(micro / "run"), std::vector<std::int64_t>{1});
  EXPECT_TRUE(all_finite(micro / "run"));
}

// Finite gradients times an absurd rate: the update itself overflows, which the next step sees.
TEST(BadNumbers, AnUpdateThatOverflowsIsNotSaved) {
  const MicroRun micro;
  const std::vector<std::string> settings = {"optim.lr=1e39", "optim.warmup_steps=0"};
  const Ended ended = micro.train("late", settings);
  EXPECT_EQ(ended.code, 4) << ended.err;
  EXPECT_THAT(ended.last_line(), HasSubstr("step 2: "));
  EXPECT_THAT(ended.last_line(), HasSubstr("/model/embed/weight is not finite since step 1"));
  EXPECT_THAT(checkpoints_of(micro / "late"), testing::IsEmpty());

  std::vector<std::string> at_once = settings;
  at_once.emplace_back("checkpoint.every_steps=1");
  const Ended saving = micro.train("saving", at_once);
  EXPECT_EQ(saving.code, 4) << saving.err;
  EXPECT_THAT(saving.last_line(), HasSubstr("step 1: /model/embed/weight"));
  EXPECT_THAT(checkpoints_of(micro / "saving"), testing::IsEmpty());
  EXPECT_THAT(lines_of(micro / "saving", "event"),
              testing::Contains(HasSubstr("\"event\":\"bad_numbers\"")));
}

}  // namespace
}  // namespace shoal

#include "train/run/closing.h"

#include <gmock/gmock.h>

#include "tests/support/temporary_folder.h"
#include "train/metrics/metrics_log.h"

namespace shoal {
namespace {

using testing::HasSubstr;

RunConfig planned(std::int64_t steps, double minutes) {
  RunConfig c;
  c.train.steps = steps;
  c.train.minutes = minutes;
  c.model.vocab_size = 258;
  return c;
}

ScheduleConfig schedule_of(const RunConfig& c) {
  return {c.optim.lr, c.optim.end_lr, c.optim.warmup_steps, c.optim.decay_share, c.train.steps};
}

std::vector<ClosingRemark> remarks(const RunConfig& c, std::int64_t step, bool minutes_ended) {
  return closing_remarks(c, schedule_of(c), step, minutes_ended, "/nowhere/metrics.jsonl");
}

TEST(Closing, MinutesThatCutTheDecayOff) {
  const RunConfig c = planned(1000, 2);
  EXPECT_TRUE(remarks(c, 1000, false).empty());
  EXPECT_TRUE(remarks(c, 500, false).empty());  // a signal: it will go on
  const auto at = [&](std::int64_t step) { return remarks(c, step, true); };
  for (const std::int64_t step : {500, 999}) {
    ASSERT_EQ(at(step).size(), 1U) << step;
    EXPECT_EQ(at(step)[0].event.event, "undecayed");
    EXPECT_EQ(at(step)[0].event.fields.at("planned_steps"), 1000);
    EXPECT_THAT(at(step)[0].sentence, HasSubstr("train.minutes (2) ended it before the learning "
                                                "rate had decayed"));
  }
  EXPECT_EQ(at(500)[0].event.fields.at("lr"), 1e-3);
  EXPECT_THAT(at(20)[0].sentence, HasSubstr("had risen"));
  EXPECT_TRUE(remarks(planned(0, 2), 500, true).empty());  // it was never planned
  RunConfig level = c;
  level.optim.decay_share = 0;
  EXPECT_TRUE(remarks(level, 500, true).empty());
  level = c;
  level.optim.end_lr = level.optim.lr;
  EXPECT_TRUE(remarks(level, 500, true).empty());
}

TEST(Closing, AForkIsJudgedByItsOwnSteps) {
  const TemporaryFolder folder;
  const RunConfig c = planned(1000, 0);
  const auto judged = [&](bool forked) {
    {
      MetricsLog log(folder / "metrics.jsonl");
      for (std::int64_t step = 1; step <= 200; ++step) {
        if (forked && step == 101) log.write(EventRecord{100, "fork", {}, 0});
        StepRecord r;
        r.step = step;
        r.ce = step <= 100 ? 1.0 : 4.0;  // another text
        log.write(r);
      }
    }
    return closing_remarks(c, schedule_of(c), 200, false, folder / "metrics.jsonl");
  };
  EXPECT_TRUE(judged(true).empty());
  ASSERT_EQ(judged(false).size(), 1U);
  EXPECT_EQ(judged(false)[0].event.event, "diverged");
  EXPECT_EQ(judged(false)[0].event.fields.at("best_step"), 100);
}

TEST(Closing, AFinishedRunNamesTheKeyToRaise) {
  RunConfig c = planned(24, 0);
  EXPECT_EQ(how_to_go_on(c, 24),
            "to train on, raise train.steps (24) and add --fork NEW_RUN, since the learning rate's "
            "decay was planned by it");
  c.optim.decay_share = 0;
  EXPECT_EQ(how_to_go_on(c, 24), "to train on, raise train.steps (24)");
  c.train.tokens = 8192.0 * 24;
  EXPECT_EQ(how_to_go_on(c, 24), "to train on, raise train.steps (24) and train.tokens (196608)");
  c.train.steps = 100;
  EXPECT_EQ(how_to_go_on(c, 24), "to train on, raise train.tokens (196608)");
  c.train.minutes = 2;
  EXPECT_EQ(how_to_go_on(c, 20), "to train on, raise train.minutes (2)");
}

}  // namespace
}  // namespace shoal

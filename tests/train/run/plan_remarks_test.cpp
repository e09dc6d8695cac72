#include "train/run/plan_remarks.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "tests/support/paths.h"
#include "train/config/load_config.h"

namespace shoal {
namespace {

using testing::HasSubstr;

RunConfig plain() {
  RunConfig c;
  c.train.steps = 1000;
  return c;
}

std::string texts(const RunConfig& c, bool warnings_only = false) {
  std::string out;
  for (const Remark& r : plan_remarks(c)) {
    if (r.warns || !warnings_only) out += r.text + '\n';
  }
  return out;
}

TEST(PlanRemarks, NothingToSayOfAnOrdinaryRun) {
  EXPECT_EQ(texts(plain()), "");
  RunConfig c = plain();
  c.train.minutes = 5;
  c.optim.warmup_steps = 0;
  c.optim.decay_share = 1.0;
  EXPECT_EQ(texts(c), "");
  c.optim.warmup_steps = 50;  // the decay begins after it: that is what a share of 1 means
  EXPECT_EQ(texts(c), "");
}

TEST(PlanRemarks, AWarmUpThatIsTooLong) {
  RunConfig c = plain();
  c.optim.warmup_steps = 2000;
  EXPECT_THAT(texts(c, true), HasSubstr("never reaches optim.lr 0.001, but 0.0005"));
  c.optim.warmup_steps = 1001;
  EXPECT_THAT(texts(c, true), HasSubstr("never reaches"));
  c.optim.warmup_steps = 1000;
  EXPECT_THAT(texts(c, true), HasSubstr("all 1000 steps"));
  c.optim.warmup_steps = 999;
  EXPECT_THAT(texts(c, true), HasSubstr("leave 1 of 1000 steps to the decay"));
  c.optim.warmup_steps = 701;
  EXPECT_THAT(texts(c, true), HasSubstr("optim.decay_share 0.3 would give 300"));
  c.optim.warmup_steps = 700;
  EXPECT_EQ(texts(c), "");
  c.optim.warmup_steps = 2000;  // tokens end it as well as steps do
  c.train.steps = 0;
  c.train.tokens = 8192.0 * 100;
  EXPECT_THAT(texts(c, true), HasSubstr("the run's 100 steps"));
}

TEST(PlanRemarks, AWindowThatIsShorterThanABlock) {
  RunConfig c = plain();
  c.model.layer_types = {AttentionKind::kSliding, AttentionKind::kCompressedSparse};
  c.model.compress_rate_csa = 4;
  c.model.compress_rate_hca = 32;
  c.model.sliding_window = 4;
  EXPECT_EQ(texts(c), "");  // no layer has the larger rate
  c.model.layer_types.push_back(AttentionKind::kHeavilyCompressed);
  EXPECT_THAT(texts(c, true), HasSubstr("model.sliding_window: 4 is shorter than the largest "
                                        "compression rate, 32: up to 28 tokens"));
  c.model.sliding_window = 32;
  EXPECT_EQ(texts(c), "");
}

TEST(PlanRemarks, ADetectorThatLearnsUntilTheEnd) {
  RunConfig c = plain();
  c.stability.spike.warmup = 1000;
  EXPECT_EQ(texts(c), "");
  c.stability.spike.action = SpikeAction::kReport;
  EXPECT_THAT(texts(c, true), HasSubstr("stability.spike.warmup: 1000 leave nothing"));
  c.stability.spike.warmup = 999;
  EXPECT_EQ(texts(c), "");
}

TEST(PlanRemarks, MinutesAlonePlanNoDecay) {
  RunConfig c;
  c.train.minutes = 5;
  EXPECT_THAT(texts(c), HasSubstr("train.minutes alone"));
  EXPECT_EQ(texts(c, true), "");
  c.optim.decay_share = 0;
  EXPECT_EQ(texts(c), "");
}

TEST(PlanRemarks, WhatWasSetForADecayThatDoesNotCome) {
  RunConfig c = plain();
  c.optim.decay_share = 0;
  c.model.num_nextn_predict_layers = 1;
  EXPECT_EQ(texts(c), "");
  c.optim.end_lr = 1e-5;
  c.loss.mtp_late = 0.2;
  EXPECT_THAT(texts(c), HasSubstr("optim.end_lr, loss.mtp_late: without effect"));
  c.optim.decay_share = 0.1;
  EXPECT_EQ(texts(c), "");
}

// The same seed, the same bits: no clock ends them.
TEST(PlanRemarks, TheReplicasAreBoundByStepsAlone) {
  int replicas = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(source_folder() + "/configs/replicas")) {
    const RunConfig c = load_config(entry.path(), {}, {.needs_data = true});
    EXPECT_EQ(c.train.minutes, 0.0) << entry.path();
    EXPECT_EQ(texts(c), "") << entry.path();
    ++replicas;
  }
  EXPECT_GE(replicas, 5);
}

TEST(PlanRemarks, WhatNeverHappens) {
  RunConfig c = plain();
  c.train.steps = 60;
  EXPECT_THAT(texts(c), HasSubstr("train.eval_every 100, checkpoint.every_steps 100: beyond"));
  c.train.eval_every = 60;
  c.checkpoint.every_steps = 0;
  c.log.every = 61;
  EXPECT_THAT(texts(c), HasSubstr("log.every 61"));
  EXPECT_THAT(texts(c), Not(HasSubstr("eval_every")));
  c.log.every = 60;
  c.optim.warmup_steps = 10;
  EXPECT_EQ(texts(c), "");
  c.data.validation_share = 0;
  EXPECT_THAT(texts(c), HasSubstr("data.validation: 0"));
  c.train.sample_prompts = {"And"};
  EXPECT_EQ(texts(c), "");
  c.indexer.modes = {{IndexerMode::kDense, 0}, {IndexerMode::kSparse, 60}};
  EXPECT_THAT(texts(c, true), HasSubstr("sparse from step 60 is never reached"));
}

}  // namespace
}  // namespace shoal

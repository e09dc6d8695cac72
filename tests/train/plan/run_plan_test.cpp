#include "train/plan/run_plan.h"

#include <gtest/gtest.h>

namespace shoal {
namespace {

RunConfig staged() {
  RunConfig c;
  c.data.sequence_length = 64;
  c.train.batch_tokens = 512;
  c.train.micro_batch = 4;
  c.train.stages = {{10, 128, 0, 2}, {25, 0, 1024, 0}};
  c.train.steps = 40;
  c.optim.warmup_steps = 4;
  c.optim.decay_share = 0.25;
  c.indexer.modes = {
      {IndexerMode::kDense, 0}, {IndexerMode::kWarmup, 8}, {IndexerMode::kSparse, 9}};
  return c;
}

TEST(RunPlan, SaysWhatHoldsAtAStep) {
  const RunPlan plan(staged());
  const struct {
    std::int64_t done, stretch;
    IndexerMode indexer;
    std::optional<double> mtp;
  } kCases[] = {{0, 0, IndexerMode::kDense, 0.3},    {7, 0, IndexerMode::kDense, 0.3},
                {8, 0, IndexerMode::kWarmup, 0.3},   {9, 0, IndexerMode::kSparse, 0.3},
                {10, 1, IndexerMode::kSparse, 0.3},  {24, 1, IndexerMode::kSparse, 0.3},
                {25, 2, IndexerMode::kSparse, 0.3},  {29, 2, IndexerMode::kSparse, 0.3},
                {30, 2, IndexerMode::kSparse, 0.1},  // the first step of the decay is the 31st
                {1000, 2, IndexerMode::kSparse, 0.1}};
  for (const auto& c : kCases) {
    const StepPlan step = plan.at(c.done);
    EXPECT_EQ(step.number, c.done + 1);
    EXPECT_EQ(step.sizes, plan.sizes()[static_cast<std::size_t>(c.stretch)]) << c.done;
    EXPECT_EQ(step.indexer, c.indexer) << c.done;
    EXPECT_EQ(step.loss.mtp, c.mtp) << c.done;
  }
  EXPECT_EQ(plan.at(0).lr, 1e-3 / 4);
  EXPECT_EQ(plan.at(3).lr, 1e-3);
  EXPECT_EQ(plan.at(29).lr, 1e-3);
  EXPECT_LT(plan.at(30).lr, 1e-3);
  EXPECT_EQ(plan.at(39).lr, 1e-4);
  EXPECT_FALSE(plan.is_complete(39));
  EXPECT_TRUE(plan.is_complete(40));
  EXPECT_EQ(plan.most_micro_batches(), 4);
  EXPECT_EQ(largest(plan.sizes()), plan.sizes()[1]);
}

TEST(RunPlan, QuantizationBeginsAtItsStep) {
  RunConfig config = staged();
  config.model.fp4 = {Quantization::kQat, Quantization::kOff, 10};
  config.model.fp8_kv = Quantization::kQat;
  EXPECT_EQ(RunPlan(config).at(9).precision, (Precision{false, false, true}));
  EXPECT_EQ(RunPlan(config).at(10).precision, (Precision{true, false, true}));
  config.model.fp4 = {Quantization::kOff, Quantization::kPtq, 10};  // of an evaluation
  EXPECT_EQ(RunPlan(config).at(0).precision, (Precision{false, true, true}));
}

TEST(RunPlan, WithoutAWeightMtpDoesNotRun) {
  RunConfig config = staged();
  config.loss.mtp_late = 0.0;
  EXPECT_EQ(RunPlan(config).at(0).loss.mtp, 0.3);
  EXPECT_EQ(RunPlan(config).at(30).loss.mtp, std::nullopt);
}

TEST(RunPlan, ARunThatMinutesEndIsNeverComplete) {
  RunConfig config = staged();
  config.train.steps = 0;
  const RunPlan plan(config);
  EXPECT_EQ(plan.steps(), 0);
  EXPECT_FALSE(plan.is_complete(std::int64_t{1} << 40));
  EXPECT_EQ(plan.at(1000000).lr, 1e-3);
}

// 8 sequences a step, then 4, then 8.
TEST(RunPlan, CountsSequencesAcrossStretches) {
  const RunPlan plan(staged());
  for (std::int64_t from = 0; from < 40; ++from) {
    std::int64_t sum = 0;
    for (std::int64_t to = from; to < 40; ++to) {
      EXPECT_EQ(plan.sequences_between(from, to), sum);
      EXPECT_EQ(plan.sequences_between(to, from), -sum);
      sum += plan.at(to).sizes.sequences();
    }
  }
  EXPECT_EQ(plan.sequences_between(0, 26), 10 * 8 + 15 * 4 + 8);
}

}  // namespace
}  // namespace shoal

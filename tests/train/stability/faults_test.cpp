#include "train/stability/faults.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/tiny_model.h"
#include "train/plan/run_plan.h"

namespace shoal::testing {
namespace {

Batch batch_of(std::uint64_t seed) {
  return pack(24, {{random_document(20, 23, seed)}, {random_document(11, 23, seed + 9)}});
}

TEST(Faults, AShuffledBatchHasTheSameTargetsElsewhere) {
  std::vector<Batch> once = {batch_of(1), batch_of(2)}, twice = once, later = once;
  const std::vector<Batch> before = once;
  shuffle_targets(once, 5, 7);
  shuffle_targets(twice, 5, 7);
  shuffle_targets(later, 5, 8);
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(once[i].targets, twice[i].targets);
    EXPECT_NE(once[i].targets, later[i].targets);
    EXPECT_NE(once[i].targets, before[i].targets);
    EXPECT_EQ(once[i].tokens, before[i].tokens);
    EXPECT_TRUE(std::is_permutation(once[i].targets.begin(), once[i].targets.end(),
                                    before[i].targets.begin()));
    for (std::size_t n = 0; n < before[i].targets.size(); ++n) {
      EXPECT_EQ(once[i].targets[n] < 0, before[i].targets[n] < 0);
    }
  }
}

TEST(Faults, AShockHitsTheBusiestExpertOfTheMiddleLayerAlone) {
  const auto model = random_model(hybrid_config()), other = random_model(hybrid_config());
  ModelStats stats = make_stats(*model);
  for (BlockStats& block : stats) block.load = {1, 2, 9, 9, 3};
  const ShockedExpert shocked = shock_expert(*model, stats, 4.0);
  EXPECT_EQ(shocked.layer, 2);
  EXPECT_EQ(shocked.expert, 2);
  std::vector<std::string> changed;
  std::vector<float> theirs;
  other->store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
    const float* w = p.value.as<float>() + piece.offset;
    theirs.insert(theirs.end(), w, w + piece.shape.numel());
  });
  std::size_t at = 0;
  model->store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
    const float* w = p.value.as<float>() + piece.offset;
    bool equal = true, times_four = true;
    for (std::int64_t i = 0; i < piece.shape.numel(); ++i, ++at) {
      equal = equal && w[i] == theirs[at];
      times_four = times_four && w[i] == 4.0F * theirs[at];
    }
    if (!equal) changed.push_back(piece.name);
    EXPECT_TRUE(equal || times_four) << piece.name;
  });
  std::sort(changed.begin(), changed.end());
  EXPECT_EQ(changed, (std::vector<std::string>{"layers.2.ffn.experts.2.w1.weight",
                                               "layers.2.ffn.experts.2.w2.weight",
                                               "layers.2.ffn.experts.2.w3.weight"}));
}

TEST(Faults, ThePlanKnowsWhenTheyStrikeAndThatTheyDoSoOnce) {
  RunConfig c;
  c.train.steps = 40;
  c.optim.warmup_steps = 0;
  c.stability.provoke = {{FaultKind::kLrPulse, 5, 3, 20.0},
                         {FaultKind::kBadBatch, 7, 1, 1.0},
                         {FaultKind::kExpertShock, 9, 1, 6.0}};
  const RunPlan plan(c);
  RunConfig plain = c;
  plain.stability.provoke.clear();
  const RunPlan without(plain);
  for (std::int64_t done = 0; done < 40; ++done) {
    const std::int64_t step = done + 1;
    const StepPlan at = plan.at(done);
    EXPECT_EQ(at.lr, without.at(done).lr * (step >= 5 && step < 8 ? 20.0 : 1.0)) << step;
    EXPECT_EQ(at.shuffled_targets, step == 7) << step;
    EXPECT_EQ(at.expert_shock, step == 9 ? 6.0 : 0.0) << step;
    EXPECT_EQ(plan.faults_at(done, 0).size(), step == 5 || step == 7 || step == 9 ? 1U : 0U);
    // After a rollback from step 6 the pulse is over, the others are to come.
    EXPECT_EQ(plan.at(done, 6).lr, without.at(done).lr) << step;
    EXPECT_EQ(plan.at(done, 6).shuffled_targets, step == 7) << step;
    EXPECT_EQ(plan.faults_at(done, 7).size(), step == 9 ? 1U : 0U);
  }
}

TEST(Faults, ThePlanKnowsWhereAStepMeasuresAnotherThing) {
  RunConfig c;
  c.train.steps = 40;
  c.train.stages = {{10, 256, 0, 0}};
  c.indexer.modes = {{IndexerMode::kDense, 0}, {IndexerMode::kSparse, 20}};
  c.model.fp4 = {Quantization::kQat, Quantization::kOff, 30};
  const RunPlan plan(c);
  for (std::int64_t done = 0; done < 40; ++done) {
    EXPECT_EQ(plan.turns_at(done), done == 10 || done == 20 || done == 30) << done;
  }
}

}  // namespace
}  // namespace shoal::testing

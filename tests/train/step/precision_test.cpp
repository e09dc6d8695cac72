// Training with fewer bits: FP4 experts and indexers, FP8 entries.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "autograd/kernels/fp4.h"
#include "autograd/kernels/gemm.h"
#include "tests/optim/testing.h"
#include "tests/support/heap_count.h"
#include "tests/support/step_plan.h"
#include "tests/support/tiny_model.h"
#include "train/run/memory_estimate.h"
#include "train/step/index_recall.h"
#include "train/step/step_runner.h"

namespace shoal::testing {
namespace {

using Options = StepRunner::Options;

// Rows of experts have blocks of 32, short ones, and odd lengths; index heads have two blocks; both
// kinds of routing, MTP, every kind of attention.
ModelConfig config() {
  ModelConfig c = hybrid_config();
  c.hidden_size = 40;
  c.moe_intermediate_size = 33;
  c.index_head_dim = 64;
  c.head_dim = 72;
  return c;
}

std::vector<Batch> batches_of(std::int64_t count) {
  std::vector<Batch> all;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto seed = static_cast<std::uint64_t>(10 * i);
    all.push_back(pack(40, {{random_document(31, 23, seed), random_document(6, 23, seed + 1)},
                            {random_document(40, 23, seed + 2)}}));
  }
  return all;
}

StepPlan plan_of(const Precision& precision, std::int64_t number = 1) {
  StepPlan plan = step_plan({0.3, 0.01, 0.5}, number, 2e-3);
  plan.precision = precision;
  return plan;
}

using Floats = std::vector<float>;
Floats copy_of(std::span<const float> x) { return {x.begin(), x.end()}; }
bool same(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void round_masters(Model& model) {
  for (ModelParam* p : model.rounded_experts().weights()) {
    fp4_round(p->value.as<float>(), p->value.shape.rows(), p->value.shape.cols(),
              p->value.as<float>());
  }
}

// Losses and gradients are those of a model whose masters are the rounded weights: that is what
// "straight through" says. The masters stay.
TEST(Precision, GradientsPassStraightThroughTheExpertsRounding) {
  for (const bool recompute : {false, true}) {
    Options options;
    options.micro_batches = 2;
    options.recompute = recompute;
    const auto rounds = random_model(config()), rounded = random_model(config());
    const Floats masters = copy_of(rounds->store().values());
    round_masters(*rounded);
    EXPECT_FALSE(same(masters, copy_of(rounded->store().values())));
    Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
    StepRunner a(*rounds, tape, options), b(*rounded, tape, options);
    const std::vector<Batch> batches = batches_of(2);
    const StepOutcome out_a = a.gradients(batches, plan_of({.fp4_experts = true}));
    const StepOutcome out_b = b.gradients(batches, plan_of({}));
    EXPECT_EQ(out_a.loss(), out_b.loss());
    EXPECT_TRUE(same(copy_of(a.flat_gradients()), copy_of(b.flat_gradients())));
    EXPECT_TRUE(same(copy_of(rounds->store().values()), masters));
  }
}

// The second step rounds the weights that the first one has moved.
TEST(Precision, WeightsAreRoundedOnceForEachUpdate) {
  const auto model = random_model(config());
  Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
  StepRunner runner(*model, tape, {});
  const std::vector<Batch> batches = batches_of(1);
  for (int step = 1; step <= 3; ++step) {
    const auto again = random_model(config());
    const auto from = model->store().values();
    std::copy(from.begin(), from.end(), again->store().values().begin());
    round_masters(*again);
    StepRunner expected(*again, tape, {});
    EXPECT_EQ(runner.gradients(batches, plan_of({.fp4_experts = true}, step)).loss(),
              expected.gradients(batches, plan_of({}, step)).loss());
    EXPECT_TRUE(runner.step(batches, plan_of({.fp4_experts = true}, step)).updated);
  }
}

struct Trace {
  std::vector<double> losses;
  Floats values;
  bool operator==(const Trace& o) const { return losses == o.losses && same(values, o.values); }
};

Trace run(const Precision& precision, const Options& options) {
  const auto model = random_model(config());
  Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
  StepRunner runner(*model, tape, options);
  const std::vector<Batch> batches = batches_of(options.micro_batches);
  Trace trace;
  for (int step = 1; step <= 3; ++step) {
    const StepOutcome out = runner.step(batches, plan_of(precision, step));
    EXPECT_TRUE(out.updated);
    for (const double x : {out.parts.ce, out.parts.mtp, out.parts.balance, out.parts.index_kl}) {
      trace.losses.push_back(x);
    }
  }
  trace.values = copy_of(model->store().values());
  return trace;
}

TEST(Precision, EqualBitsForThreadsRecomputeAndKernels) {
  Options options;
  options.micro_batches = 2;
  const Trace plain = run({}, options);
  for (const Precision& precision : {Precision{.fp4_experts = true}, Precision{.fp4_indexer = true},
                                     Precision{.fp8_kv = true}, Precision{true, true, true}}) {
    options.recompute = false;
    const Trace want = run(precision, options);
    EXPECT_FALSE(want == plain);
    options.recompute = true;
    for_thread_counts([&](int threads) {
      EXPECT_TRUE(run(precision, options) == want) << threads << " threads";
    });
    use_wide_gemm(false);
    EXPECT_TRUE(run(precision, options) == want);
    use_wide_gemm(true);
  }
}

// The indexer's rounding reaches its own loss and the choice; nothing else of the model knows it.
TEST(Precision, WhereAllEntriesAreSeenFp4IndexersChangeTheirOwnLossAlone) {
  ModelConfig c = config();
  c.index_topk = 40;
  const auto model = random_model(c);
  Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
  StepRunner runner(*model, tape, {});
  const std::vector<Batch> batches = batches_of(1);
  const StepOutcome plain = runner.gradients(batches, plan_of({}));
  const StepOutcome fp4 = runner.gradients(batches, plan_of({.fp4_indexer = true}));
  EXPECT_EQ(plain.parts.ce, fp4.parts.ce);
  EXPECT_NE(plain.parts.index_kl, fp4.parts.index_kl);
  EXPECT_NEAR(plain.parts.index_kl, fp4.parts.index_kl, 0.2 * plain.parts.index_kl);
}

TEST(Precision, AWarmStepTakesNothingFromTheHeap) {
  if (!heap_is_counted()) GTEST_SKIP();
  const auto model = random_model(config());
  Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
  StepRunner runner(*model, tape, {});
  const std::vector<Batch> batches = batches_of(1);
  long before = 0;
  for (int step = 1; step <= 4; ++step) {
    if (step == 3) before = heap_calls();
    runner.step(batches, plan_of({true, true, true}, step));
  }
  EXPECT_EQ(heap_calls(), before);
}

TEST(Precision, RecallIsOneWithoutRoundingNoiseAndAShareWithIt) {
  const auto model = random_model(config());
  Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
  const Batch batch = batches_of(1)[0];
  for (const double recall : index_recall(*model, tape, batch)) EXPECT_TRUE(std::isnan(recall));
  model->set_precision({.fp4_indexer = true});
  const std::vector<double> recalls = index_recall(*model, tape, batch);
  ASSERT_EQ(recalls.size(), 6U);
  for (const std::size_t l : {1U, 4U}) {
    EXPECT_GT(recalls[l], 0.7);
    EXPECT_LE(recalls[l], 1.0);
  }
  for (const std::size_t l : {0U, 2U, 3U, 5U}) EXPECT_TRUE(std::isnan(recalls[l]));
}

TEST(Precision, StatisticsOfRounding) {
  ParamStore store;
  ModelParam& p = store.add({.name = "p", .shape = {2, 40}, .role = ParamRole::kHead});
  store.allocate();
  std::fill_n(p.value.as<float>(), 80, 0.0F);
  p.value.as<float>()[0] = 6.0F;    // scale 1
  p.value.as<float>()[1] = 0.2F;    // becomes 0
  p.value.as<float>()[2] = -0.75F;  // becomes -1
  p.value.as<float>()[72] = 24.0F;  // scale 4, the short block of the second row
  ModelParam* all[] = {&p, nullptr};
  const RoundingStats stats = measure_rounding(all);
  EXPECT_EQ(stats.weights, 80);
  EXPECT_EQ(stats.to_zero, 1);
  EXPECT_EQ(stats.least_scale, 0);
  EXPECT_EQ(stats.most_scale, 2);
  EXPECT_NEAR(stats.distance, std::sqrt((0.2 * 0.2 + 0.25 * 0.25) / (36 + 0.04 + 0.5625 + 576)),
              1e-7);
}

}  // namespace
}  // namespace shoal::testing

#include "train/step/step_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>

#include "autograd/base/memory.h"
#include "autograd/kernels/gemm.h"
#include "tests/optim/testing.h"
#include "tests/support/heap_count.h"
#include "tests/support/step_plan.h"
#include "tests/support/tiny_model.h"
#include "train/run/memory_estimate.h"
#include "train/trainer.h"

namespace shoal::testing {
namespace {

using ::testing::HasSubstr;
using Options = StepRunner::Options;

std::vector<Batch> micro_batches(std::int64_t count, std::int64_t T, std::int64_t vocab) {
  std::vector<Batch> all;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto seed = static_cast<std::uint64_t>(10 * i);
    all.push_back(
        pack(T, {{random_document(T - 9, vocab, seed), random_document(6, vocab, seed + 1)},
                 {random_document(T, vocab, seed + 2)}}));
  }
  return all;
}

// All that a run of some steps leaves behind.
struct Trace {
  std::vector<double> losses;
  std::vector<float> gradients, values, buffers;
  std::vector<std::int64_t> loads, clamped;
  bool operator==(const Trace& other) const {
    const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    };
    return losses == other.losses && same(gradients, other.gradients) &&
           same(values, other.values) && same(buffers, other.buffers) && loads == other.loads &&
           clamped == other.clamped;
  }
};

Trace run(const ModelConfig& config, const Options& options, int steps,
          IndexerMode mode = IndexerMode::kSparse) {
  const auto model = random_model(config);
  Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
  StepRunner runner(*model, tape, options);
  const std::vector<Batch> batches = micro_batches(options.micro_batches, 40, config.vocab_size);
  Trace trace;
  for (int step = 1; step <= steps; ++step) {
    const StepOutcome out = runner.step(batches, step_plan({0.3, 0.01, 0.5}, step, 2e-3, mode));
    EXPECT_TRUE(out.updated);
    trace.losses.insert(trace.losses.end(), {out.parts.ce, out.parts.mtp, out.parts.balance,
                                             out.parts.index_kl, out.grads.norm});
  }
  trace.gradients.assign(runner.flat_gradients().begin(), runner.flat_gradients().end());
  trace.values.assign(model->store().values().begin(), model->store().values().end());
  for (const ModelBuffer& b : model->store().buffers()) {
    const float* from = static_cast<const float*>(b.value.data);
    trace.buffers.insert(trace.buffers.end(), from, from + b.value.shape.numel());
  }
  for (const BlockStats& s : runner.stats()) {
    trace.losses.insert(trace.losses.end(), {s.index.kl, s.index.uniform});
    trace.loads.insert(trace.loads.end(), s.load.begin(), s.load.end());
    trace.clamped.insert(trace.clamped.end(), {s.clamped.gate_high, s.clamped.up_high,
                                               s.clamped.up_low, s.clamped.pairs});
  }
  return trace;
}

ModelConfig clamping_config() {
  ModelConfig config = tiny_config();
  config.swiglu_limit = 0.5;  // so that the counters count
  return config;
}

TEST(StepRunner, EqualBitsForAnyThreadCount) {
  Options options;
  options.micro_batches = 3;
  const Trace want = run(clamping_config(), options, 3);
  EXPECT_GT(*std::max_element(want.clamped.begin(), want.clamped.end()), 0);
  for_thread_counts([&](int threads) {
    EXPECT_TRUE(run(clamping_config(), options, 3) == want) << threads << " threads";
  });
}

TEST(StepRunner, EqualBitsWithRecompute) {
  for (const ResidualKind residual : {ResidualKind::kManifold, ResidualKind::kPlain}) {
    ModelConfig config = clamping_config();
    config.residual = residual;
    Options options;
    options.micro_batches = 2;
    const Trace stored = run(config, options, 3);
    options.recompute = true;
    EXPECT_TRUE(run(config, options, 3) == stored);
  }
}

TEST(StepRunner, EqualBitsForEitherKernelWidth) {
  for (const ModelConfig& config : {clamping_config(), hybrid_config()}) {
    const Trace wide = run(config, {}, 2);
    use_wide_gemm(false);
    const Trace narrow = run(config, {}, 2);
    use_wide_gemm(true);
    EXPECT_TRUE(wide == narrow);
  }
}

TEST(StepRunner, EqualBitsOfAHybridModel) {
  for (const IndexerMode mode : {IndexerMode::kDense, IndexerMode::kWarmup, IndexerMode::kSparse}) {
    SCOPED_TRACE(name_of(mode));
    Options options;
    options.micro_batches = 3;
    const Trace want = run(hybrid_config(), options, 2, mode);
    EXPECT_EQ(want.losses[3] > 0.0, mode != IndexerMode::kDense);
    options.recompute = true;
    for_thread_counts([&](int threads) {
      EXPECT_TRUE(run(hybrid_config(), options, 2, mode) == want) << threads << " threads";
    });
  }
}

// While the indexers warm up they alone change, moments and router biases included; in the dense
// mode nothing but weight decay touches them.
TEST(StepRunner, StagesMoveWhatTheySay) {
  const ModelConfig config = hybrid_config();
  for (const bool recompute : {false, true}) {
    for (const bool muon : {false, true}) {
      SCOPED_TRACE(concat(recompute ? "recompute " : "", muon ? "muon" : "adamw"));
      const auto model = random_model(config);
      Tape tape;
      Options options;
      options.recompute = recompute;
      options.optimizer.muon = muon;
      options.micro_batches = 2;
      StepRunner runner(*model, tape, options);
      const std::vector<Batch> batches = micro_batches(2, 40, config.vocab_size);
      struct State {
        std::map<std::string, std::vector<float>> params, moments;
        std::vector<float> buffers;
      };
      const auto look = [&] {
        State s;
        for (const ModelParam& p : model->store().params()) {
          s.params[p.name].assign(p.value.as<float>(), p.value.as<float>() + p.value.shape.numel());
        }
        for (const OptimizerState& o : runner.optimizer().state()) {
          s.moments[o.name + " " + o.field].assign(o.data.begin(), o.data.end());
        }
        for (const ModelBuffer& b : model->store().buffers()) {
          const auto* from = static_cast<const float*>(b.value.data);
          s.buffers.insert(s.buffers.end(), from, from + b.value.shape.numel());
        }
        return s;
      };
      const auto step = [&](std::int64_t number, IndexerMode mode) {
        const StepOutcome out =
            runner.step(batches, step_plan({0.3, 0.01, 0.5}, number, 1e-3, mode));
        EXPECT_TRUE(out.updated);
        EXPECT_EQ(out.parts.index_kl > 0.0, mode != IndexerMode::kDense);
        EXPECT_EQ(out.loss(),
                  out.parts.ce + out.parts.mtp + out.parts.balance + out.parts.index_kl);
        EXPECT_GT(out.parts.ce, 0.0);
        return out;
      };
      const State start = look();
      step(1, IndexerMode::kWarmup);
      const State warm = look();
      EXPECT_EQ(warm.buffers, start.buffers);
      for (const auto& [name, values] : warm.params) {
        EXPECT_EQ(values != start.params.at(name), name.find(".indexer.") != std::string::npos)
            << name;
      }
      for (const auto& [name, values] : warm.moments) {
        EXPECT_EQ(values != start.moments.at(name), name.find(".indexer.") != std::string::npos)
            << name;
      }
      step(2, IndexerMode::kSparse);
      const State sparse = look();
      EXPECT_NE(sparse.buffers, warm.buffers);
      for (const auto& [name, values] : sparse.params) {
        EXPECT_NE(values, warm.params.at(name)) << name;
      }
      step(3, IndexerMode::kDense);
      for (const ModelParam& p : model->store().params()) {
        if (p.group != ParamGroup::kIndexer) continue;
        const float* gradient = runner.flat_gradients().data() + p.offset;
        EXPECT_TRUE(std::all_of(gradient, gradient + p.value.shape.numel(), [](float g) {
          return g == 0.0F;
        })) << p.name;
      }
    }
  }
}

TEST(StepRunner, ADifferentWeightGivesOtherBits) {  // so that `equal` above means something
  ModelConfig config = clamping_config();
  const Trace one = run(config, {}, 1);
  config.routed_scaling_factor = 1.5000001;
  EXPECT_FALSE(run(config, {}, 1) == one);
}

// Means are over the targets of the whole step, not means of micro-batches' means.
TEST(StepRunner, MeansAreOverTheStep) {
  const ModelConfig config = tiny_config();
  const auto V = config.vocab_size;
  const auto model = random_model(config);
  Tape tape;
  Options options;
  options.micro_batches = 2;
  StepRunner two(*model, tape, options);
  const std::vector<Batch> batches{pack(12, {{random_document(12, V, 1)}}),
                                   pack(12, {{random_document(3, V, 2)}})};
  const StepOutcome split = two.gradients(batches, step_plan({0.3, 0.01}));
  const std::vector<float> gradients(two.flat_gradients().begin(), two.flat_gradients().end());
  StepRunner one(*model, tape, {});
  const Batch joined = pack(12, {{random_document(12, V, 1)}, {random_document(3, V, 2)}});
  const StepOutcome whole = one.gradients({&joined, 1}, step_plan({0.3, 0.01}));
  EXPECT_NEAR(split.loss(), whole.loss(), 1e-6 * whole.loss());
  EXPECT_NEAR(split.mtp_mean, whole.mtp_mean, 1e-6 * whole.mtp_mean);
  EXPECT_NEAR(split.parts.balance, whole.parts.balance, 1e-6 * whole.parts.balance);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    ASSERT_NEAR(gradients[i], one.flat_gradients()[i], 1e-4 * std::abs(gradients[i]) + 1e-6);
  }
}

// What a padded tail adds to: nothing. The same documents in longer sequences give the same step.
TEST(StepRunner, PaddingCountsNowhere) {
  const ModelConfig config = clamping_config();
  const auto V = config.vocab_size;
  const auto step = [&](std::int64_t T) {
    const auto model = random_model(config);
    Tape tape;
    StepRunner runner(*model, tape, {});
    const Batch batch = pack(T, {{random_document(9, V, 1)}, {random_document(11, V, 2)}});
    Trace trace;
    const StepOutcome out = runner.step({&batch, 1}, step_plan({0.3, 0.01}));
    trace.losses = {out.parts.ce, out.parts.mtp, out.parts.balance};
    for (const BlockStats& s : runner.stats()) {
      trace.loads.insert(trace.loads.end(), s.load.begin(), s.load.end());
      trace.clamped.insert(trace.clamped.end(), {s.clamped.gate_high, s.clamped.up_high,
                                                 s.clamped.up_low, s.clamped.pairs});
    }
    trace.gradients.assign(runner.flat_gradients().begin(), runner.flat_gradients().end());
    return trace;
  };
  const Trace tight = step(11), loose = step(40);
  EXPECT_EQ(tight.losses, loose.losses);
  EXPECT_EQ(tight.loads, loose.loads);
  EXPECT_EQ(tight.clamped, loose.clamped);
  EXPECT_EQ(tight.clamped[3], 20 * 3 * config.moe_intermediate_size);  // two routed, one shared
  std::int64_t total = 0;
  for (const std::int64_t n : tight.loads) total += n;
  EXPECT_EQ(total, 3 * 20 * config.num_experts_per_tok);
  for (std::size_t i = 0; i < tight.gradients.size(); ++i) {
    ASSERT_NEAR(tight.gradients[i], loose.gradients[i], 1e-4 * std::abs(tight.gradients[i]) + 1e-6);
  }
}

// One token has no token after next, yet the MTP block's router is asked, and counts.
TEST(StepRunner, TheMtpRouterCountsWithoutTargets) {
  const ModelConfig config = tiny_config();
  const auto model = random_model(config);
  Tape tape;
  StepRunner runner(*model, tape, {});
  Batch batch;
  batch.B = 2;
  batch.T = 1;
  batch.tokens = {3, 5};
  batch.targets = {5, 4};
  batch.first = {0, 1};
  const auto routed = [&] {
    const std::vector<std::int64_t>& load = runner.stats().back().load;
    return std::accumulate(load.begin(), load.end(), std::int64_t{0});
  };
  const StepOutcome with = runner.gradients({&batch, 1}, step_plan({0.3, 0.01}));
  EXPECT_EQ(with.parts.mtp, 0.0);
  EXPECT_EQ(routed(), 2 * config.num_experts_per_tok);
  const StepOutcome without = runner.gradients({&batch, 1}, step_plan({std::nullopt, 0.01}));
  EXPECT_EQ(routed(), 0);
  EXPECT_GT(with.parts.balance, without.parts.balance + 0.005);
  EXPECT_EQ(runner.gradients({&batch, 1}, step_plan({0.0, 0.01})).parts.balance,
            with.parts.balance);
}

TEST(StepRunner, RouterBiasesFollowTheLoads) {
  const ModelConfig config = tiny_config();
  const auto model = random_model(config);
  Tape tape;
  StepRunner runner(*model, tape, {});
  const ModelBuffer* bias = model->blocks()[1].feed_forward().bias();
  ASSERT_NE(bias, nullptr);
  EXPECT_EQ(model->blocks()[0].feed_forward().bias(), nullptr);  // hash-routed
  const std::vector<float> before(bias->value.as<float>(), bias->value.as<float>() + 5);
  const Batch batch = pack(30, {{random_document(30, config.vocab_size, 1)}});
  runner.step({&batch, 1}, step_plan());
  const std::vector<std::int64_t>& load = runner.stats()[1].load;
  for (std::size_t e = 0; e < 5; ++e) {
    const double mean = 30.0 * 2 / 5;
    const float sign = static_cast<double>(load[e]) < mean   ? 1.0F
                       : static_cast<double>(load[e]) > mean ? -1.0F
                                                             : 0.0F;
    EXPECT_EQ(bias->value.as<float>()[e], before[e] + 0.001F * sign) << load[e];
  }
}

TEST(StepRunner, GivingUpChangesNothing) {
  const ModelConfig config = tiny_config();
  const auto model = random_model(config);
  Tape tape;
  Options options;
  options.micro_batches = 3;
  StepRunner runner(*model, tape, options);
  const std::vector<Batch> batches = micro_batches(3, 20, config.vocab_size);
  const std::vector<float> before(model->store().values().begin(), model->store().values().end());
  int asked = 0;
  const StepOutcome out = runner.step(batches, step_plan(), [&] { return ++asked == 3; });
  EXPECT_FALSE(out.finished || out.updated);
  EXPECT_EQ(asked, 3);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), model->store().values().begin()));
  EXPECT_TRUE(runner.step(batches, step_plan()).updated);
}

TEST(StepRunner, BadNumbersChangeNothingAndAreNamed) {
  const ModelConfig config = tiny_config();
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    const auto model = random_model(config);
    Tape tape;
    StepRunner runner(*model, tape, {});
    const Batch batch = pack(20, {{random_document(20, config.vocab_size, 1)}});
    for (ModelParam& p : model->store().params()) {
      if (p.name == "layers.1.attn.wkv.weight") p.value.as<float>()[5] = bad;
    }
    const std::vector<float> before(model->store().values().begin(), model->store().values().end());
    tape.trace_numbers(true);
    const StepOutcome out = runner.step({&batch, 1}, step_plan());
    EXPECT_TRUE(out.finished);
    EXPECT_FALSE(out.updated);
    EXPECT_EQ(std::memcmp(before.data(), model->store().values().data(), before.size() * 4), 0);
    // The op, its layer, and what went in: the second input, the weight, is the culprit.
    EXPECT_THAT(tape.first_bad_number(), HasSubstr("forward of linear in layers.1: output 0"));
    EXPECT_THAT(tape.first_bad_number(),
                ::testing::ContainsRegex("input 0 in \\[-[0-9.]+, [0-9.]+\\];"));
    EXPECT_THAT(tape.first_bad_number(),
                ::testing::ContainsRegex("input 1 in \\[-[0-9.]+, [0-9.]+\\] and not finite"));
    tape.forget_bad_number();
    EXPECT_EQ(tape.first_bad_number(), "");
  }
}

// Losses fall on a repeated batch, for each kind of residual, feed-forward and router.
class Kinds : public ::testing::TestWithParam<std::function<void(ModelConfig&)>> {};
TEST_P(Kinds, LossFallsOnARepeatedBatch) {
  ModelConfig config = tiny_config();
  GetParam()(config);
  config.finish("test");
  for (const bool muon : {false, true}) {
    Model model(config);
    model.allocate();
    model.initialise(3, {});
    Tape tape;
    Options options;
    options.optimizer.muon = muon;
    StepRunner runner(model, tape, options);
    const Batch batch = pack(24, {{random_document(24, config.vocab_size, 1)},
                                  {random_document(11, config.vocab_size, 2)}});
    double first = 0.0, last = 0.0;
    for (int step = 1; step <= 20; ++step) {
      const StepOutcome out = runner.step({&batch, 1}, step_plan({}, step, 5e-3));
      ASSERT_TRUE(out.updated) << out.grads.first_bad;
      EXPECT_GT(out.grads.norm, 0.0);
      (step == 1 ? first : last) = out.loss();
    }
    EXPECT_LT(last, 0.8 * first) << (muon ? "Muon" : "AdamW");
  }
}
std::vector<std::function<void(ModelConfig&)>> kinds() {
  std::vector<std::function<void(ModelConfig&)>> all;
  for (std::int64_t n = 1; n <= 8; ++n) {
    all.emplace_back([n](ModelConfig& c) { c.hc_mult = n; });
    all.emplace_back([n](ModelConfig& c) {
      c.residual = ResidualKind::kHyper;
      c.hc_mult = n;
    });
  }
  all.emplace_back([](ModelConfig& c) { c.residual = ResidualKind::kPlain; });
  all.emplace_back([](ModelConfig& c) { c = hybrid_config(); });
  all.emplace_back([](ModelConfig& c) {
    c.mlp_layer_types = {FeedForwardKind::kDense, FeedForwardKind::kDense};
  });
  all.emplace_back([](ModelConfig& c) {
    c.mlp_layer_types = {FeedForwardKind::kDense, FeedForwardKind::kMoe};
    c.num_nextn_predict_layers = 0;
    c.n_shared_experts = 0;
  });
  for (const RouterScore score : {RouterScore::kSigmoid, RouterScore::kSoftmax}) {
    all.emplace_back([score](ModelConfig& c) { c.scoring_func = score; });
    all.emplace_back([score](ModelConfig& c) {
      c.scoring_func = score;
      c.norm_topk_prob = false;
      c.n_shared_experts = 0;
    });
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(StepRunner, Kinds, ::testing::ValuesIn(kinds()));

// The engine's promises about memory.

struct Warm {
  RunConfig config;
  BatchSizes sizes;
  std::unique_ptr<Model> model;
  Tape tape;
  std::unique_ptr<StepRunner> runner;
  std::vector<Batch> batches;

  explicit Warm(bool recompute, bool muon, bool hybrid = false, std::int64_t T = 64) {
    config.model = hybrid ? hybrid_config() : tiny_config();
    config.model.hidden_size = 48;
    config.model.hc_mult = 4;
    config.model.finish("test");
    config.train.recompute = recompute ? RecomputePolicy::kBlock : RecomputePolicy::kNone;
    model = random_model(config.model);
    sizes = {0, T, 4 * T, 2};
    const MemoryEstimate estimate = estimate_memory(*model, config, sizes);
    Options options;
    options.recompute = recompute;
    options.micro_batches = 2;
    options.optimizer.muon = muon;
    tape.populate(estimate.tape);
    runner = std::make_unique<StepRunner>(*model, tape, options);
    batches = micro_batches(2, T, config.model.vocab_size);
  }
  void step(std::int64_t number) {
    EXPECT_TRUE(runner->step(batches, step_plan({}, number)).updated);
  }
};

TEST(StepRunner, AWarmStepTakesNothingFromTheHeapAndTouchesNoNewPage) {
  if (!testing::heap_is_counted()) GTEST_SKIP() << "a sanitizer owns the heap";
  for (const bool recompute : {false, true}) {
    for (const bool muon : {false, true}) {
      for (const bool hybrid : {false, true}) {
        if (hybrid && !muon) continue;
        Warm warm(recompute, muon, hybrid);
        warm.step(1);
        warm.step(2);
        std::vector<long> faults, calls;
        for (int i = 0; i < (hybrid ? 9 : 20); ++i) {
          const long before = page_faults(), heap = heap_calls();
          warm.step(3 + i);
          calls.push_back(heap_calls() - heap);
          faults.push_back(page_faults() - before);
        }
        std::sort(faults.begin(), faults.end());
        EXPECT_EQ(faults[faults.size() / 2], 0) << recompute << muon << hybrid;
        EXPECT_EQ(*std::max_element(calls.begin(), calls.end()), 0) << recompute << muon << hybrid;
      }
    }
  }
}

// Documents of every length make other numbers of entries, and gradients of sizes not seen before.
TEST(StepRunner, AWarmStepOfOtherDocumentsTakesNothingFromTheHeap) {
  if (!testing::heap_is_counted()) GTEST_SKIP() << "a sanitizer owns the heap";
  for (const bool recompute : {false, true}) {
    Warm warm(recompute, true, true);
    warm.step(1);
    warm.step(2);
    for (std::int64_t length = 1; length < 64; length += 3) {
      const std::int64_t V = warm.config.model.vocab_size;
      for (Batch& batch : warm.batches) {
        batch = pack(64, {{random_document(length, V, 1), random_document(64 - length, V, 2)},
                          {random_document(64 - length / 2, V, 3)}});
      }
      const long heap = heap_calls();
      warm.step(3 + length);
      EXPECT_EQ(heap_calls() - heap, 0) << length << recompute;
    }
  }
}

// A mode with fewer micro-batches, longer ones: as if the runner had been made for it.
TEST(StepRunner, GoesOnInAnotherStage) {
  Warm staged(false, true), alone(false, true);
  Options options;
  options.micro_batches = 1;
  const std::vector<Batch> longer = micro_batches(1, 96, staged.config.model.vocab_size);
  staged.runner->gradients(staged.batches, step_plan());  // leaves no trace
  staged.runner->set_micro_batches(1);
  StepRunner made_for_it(*alone.model, alone.tape, options);
  for (int step = 1; step <= 3; ++step) {
    const StepOutcome a = staged.runner->step(longer, step_plan({}, step));
    const StepOutcome b = made_for_it.step(longer, step_plan({}, step));
    EXPECT_EQ(a.loss(), b.loss());
    EXPECT_EQ(a.grads.norm, b.grads.norm);
  }
  EXPECT_THROW(staged.runner->set_micro_batches(3), Error);
  if (!testing::heap_is_counted()) return;
  const long heap = heap_calls();
  for (int step = 4; step < 12; ++step) {
    EXPECT_TRUE(staged.runner->step(longer, step_plan({}, step)).updated);
  }
  EXPECT_EQ(heap_calls() - heap, 0);
}

TEST(StepRunner, TheEstimateIsWhatAStepTakes) {
  for (const bool recompute : {false, true}) {
    Warm hybrid(recompute, true, true);
    const MemoryEstimate of_hybrid = estimate_memory(*hybrid.model, hybrid.config, hybrid.sizes);
    hybrid.step(1);  // of packed documents, which have fewer entries
    EXPECT_LE(hybrid.tape.stats().arena_low_peak, of_hybrid.tape.arena_low_peak);
    EXPECT_LT(hybrid.tape.stats().grad_peak, of_hybrid.tape.grad_peak);
    hybrid.batches.assign(2, shape_batch(2, 64, hybrid.config.model.vocab_size, 0));
    hybrid.step(2);
    EXPECT_EQ(hybrid.tape.stats().arena_low_peak, of_hybrid.tape.arena_low_peak);
    EXPECT_EQ(hybrid.tape.stats().arena_high_peak, of_hybrid.tape.arena_high_peak);
    EXPECT_EQ(hybrid.tape.stats().grad_peak, of_hybrid.tape.grad_peak);

    Warm warm(recompute, true);
    std::string dump;
    const MemoryEstimate estimate = estimate_memory(*warm.model, warm.config, warm.sizes, &dump);
    EXPECT_THAT(dump, HasSubstr(recompute ? "\nrecompute layers.1 " : "\nattention layers.1 "));
    EXPECT_THAT(dump, HasSubstr("cross_entropy mtp.0 "));
    Warm real(recompute, true);
    real.step(1);
    EXPECT_EQ(real.tape.stats().arena_low_peak, estimate.tape.arena_low_peak);
    EXPECT_EQ(real.tape.stats().arena_high_peak, estimate.tape.arena_high_peak);
    EXPECT_EQ(real.tape.stats().grad_peak, estimate.tape.grad_peak);
    EXPECT_GE(estimate.gradients, real.runner->flat_gradients().size_bytes() * 2);
  }
}

TapeStats peaks(std::int64_t T, bool recompute, std::int64_t window = 5, bool hybrid = false) {
  RunConfig config;
  config.model = hybrid ? hybrid_config() : tiny_config();
  config.model.hidden_size = 64;
  config.model.sliding_window = window;
  if (!hybrid) config.model.layer_types.assign(4, AttentionKind::kSliding);
  config.model.mlp_layer_types.assign(config.model.layer_types.size(), FeedForwardKind::kMoe);
  config.model.finish("test");
  config.train.recompute = recompute ? RecomputePolicy::kBlock : RecomputePolicy::kNone;
  Model model(config.model);
  model.allocate();
  return estimate_memory(model, config, BatchSizes{0, T, T, 1}).tape;
}

TEST(StepRunner, MemoryGrowsAtMostLinearlyWithLength) {
  for (const bool recompute : {false, true}) {
    for (const std::int64_t window : {5, 128, 100000}) {
      for (const std::int64_t T : {256, 2048, 8192}) {
        const auto once = static_cast<double>(peaks(T, recompute, window).bytes());
        const auto twice = static_cast<double>(peaks(2 * T, recompute, window).bytes());
        EXPECT_LE(twice, 2.05 * once) << "T = " << T << ", window " << window;
      }
    }
  }
  for (const bool recompute : {false, true}) {
    for (const std::int64_t T : {256, 2048}) {
      const auto once = static_cast<double>(peaks(T, recompute, 5, true).bytes());
      const auto twice = static_cast<double>(peaks(2 * T, recompute, 5, true).bytes());
      EXPECT_LE(twice, 2.05 * once) << "hybrid, T = " << T;
    }
  }
  // Nothing like T x T: 256 KiB a token would be one float for each of 65536 others.
  EXPECT_LT(static_cast<double>(peaks(65536, true).bytes()) / 65536, 64 * 1024);
}

TEST(StepRunner, RecomputeLowersThePeak) {
  const TapeStats stored = peaks(1024, false), again = peaks(1024, true);
  EXPECT_LT(again.arena_low_peak, stored.arena_low_peak / 2);
  EXPECT_LT(again.bytes(), stored.bytes());
}

}  // namespace
}  // namespace shoal::testing

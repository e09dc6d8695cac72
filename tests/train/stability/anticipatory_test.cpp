#include "train/stability/anticipatory.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>

#include "data/tokenizer/bytes.h"
#include "tests/optim/testing.h"
#include "tests/support/heap_count.h"
#include "tests/support/step_plan.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"
#include "train/checkpoint/hdf5_image.h"
#include "train/plan/batch_source.h"
#include "train/run/memory_estimate.h"
#include "train/run/training_state.h"
#include "train/step/step_runner.h"

namespace shoal::testing {
namespace {

constexpr AnticipatoryConfig kOff = {};
AnticipatoryConfig always(std::int64_t lag) { return {AnticipatoryMode::kAlways, lag}; }
AnticipatoryConfig on_spike(std::int64_t lag, std::int64_t steps, RoutingDrain drain) {
  return {AnticipatoryMode::kOnSpike, lag, steps, drain};
}

std::string documents() {
  std::string text;
  for (int d = 0; d < 40; ++d) {
    for (int i = 0; i < 20 + 3 * d; ++i) text += static_cast<char>('a' + (i * d + i) % 26);
    text += "\n\n";
  }
  return text;
}

constexpr std::int64_t kSteps = 12;

// 3 micro-batches of 1 x 16, from step 4 on 2 of 1 x 32, from step 8 on 2 of 2 x 8.
RunConfig staged_run(const TemporaryFolder& folder, const AnticipatoryConfig& routing) {
  RunConfig c;
  c.model = hybrid_config();
  c.model.vocab_size = 258;
  c.model.layer_types.resize(3);
  c.model.mlp_layer_types = {FeedForwardKind::kHashMoe, FeedForwardKind::kMoe,
                             FeedForwardKind::kMoe};
  c.model.finish("test");
  c.data.train = {{folder.write("corpus.txt", documents())}};
  c.data.validation_share = 0.0;
  c.data.sequence_length = 16;
  c.train.batch_tokens = 48;
  c.train.micro_batch = 1;
  c.train.stages = {{4, 32, 64, 1}, {8, 8, 32, 2}};
  c.train.steps = kSteps;
  c.optim.lr = 2e-2;  // so that a router soon chooses others
  c.optim.end_lr = 2e-3;
  c.optim.warmup_steps = 1;
  c.stability.anticipatory = routing;
  return c;
}

// A run as the trainer goes through it, in this process.
struct StagedRun {
  RunConfig config;
  RunPlan plan;
  BatchSource source;
  std::unique_ptr<Model> model;
  Tape tape;
  std::unique_ptr<StepRunner> runner;
  std::unique_ptr<AnticipatoryRouting> routing;
  TrainingState state;
  std::vector<Batch> batches;
  std::vector<double> losses;
  std::vector<std::int32_t> given;  // of the last step

  StagedRun(const RunConfig& c, std::uint64_t seed = 1)
      : config(c), plan(c), source(c, plan, ByteTokenizer()), model(random_model(c.model, seed)) {
    StepRunner::Options options;
    options.recompute = c.train.recompute == RecomputePolicy::kBlock;
    options.router_bias_speed = c.stability.router_bias_speed;
    options.micro_batches = plan.most_micro_batches();
    runner = std::make_unique<StepRunner>(*model, tape, options);
    routing = std::make_unique<AnticipatoryRouting>(
        *model, tape, c.stability.anticipatory,
        Ahead{[this](std::int64_t done) { return plan.at(done); },
              [this](std::int64_t done, std::vector<Batch>& into) {
                source.batches(state.position, done, into);
              },
              plan.steps()});
    state.add(*model);
    state.add(runner->optimizer());
    routing->add_to(state);
  }

  // False: given up, at the call of give_up that says so.
  bool step(const std::function<bool()>& give_up = nullptr, bool skip = false) {
    const std::int64_t done = state.position.step;
    StepPlan of_step = plan.at(done);
    runner->set_micro_batches(of_step.sizes.micro_batches());
    routing->update(done);
    source.batches(state.position, done, batches);
    StepOutcome out;
    if (routing->look_ahead(done, batches, give_up)) {
      of_step.given_ids = routing->given_ids();
      given.clear();
      for (const Tensor& t : of_step.given_ids) {
        if (t)
          given.insert(given.end(), t.as<std::int32_t>(), t.as<std::int32_t>() + t.shape.numel());
      }
      out = skip ? runner->gradients(batches, of_step, give_up)
                 : runner->step(batches, of_step, give_up);
    }
    if (!out.finished) {
      routing->undo();
      return false;
    }
    routing->batches_used();
    state.position.samples += of_step.sizes.sequences();
    if (skip) return true;
    state.position.step += 1;
    state.position.tokens += of_step.sizes.batch_tokens;
    losses.push_back(out.loss());
    return true;
  }
  void to(std::int64_t end) {
    while (state.position.step < end) ASSERT_TRUE(step());
  }

  LoadedState on_disk() {
    StateView view = state.view();
    view.config = "run: {}";
    return parse_image(build_image(view), "x");
  }
  // Of all that decides how it goes on; or of all but the routing.
  std::uint64_t bits(bool with_routing = true) {
    const StateView view = state.view();
    std::uint64_t all = static_cast<std::uint64_t>(view.step);
    for (const StateArray& array : view.arrays) {
      if (!with_routing && array.path.starts_with("/state/routing/")) continue;
      const std::string name = array.path + shape_text(array.shape);
      all = hash_bytes(name.data(), name.size(), all);
      if (array.bytes() > 0) all = hash_bytes(array.data, array.bytes(), all);
    }
    return all;
  }
  std::int64_t queued() {  // ids
    for (const StateArray& array : state.view().arrays) {
      if (array.path == "/state/routing/ids") return array.shape[0];
    }
    return -1;
  }
};

// What the routers of a model choose in a plain forward pass, in the order of StagedRun::given.
std::vector<std::int32_t> choices(StagedRun& run, std::int64_t step) {
  std::vector<std::int32_t> all;
  run.model->set_precision(run.plan.at(run.state.position.step).precision);
  std::vector<Batch> batches;
  run.source.batches(run.state.position, step, batches);
  for (const Batch& batch : batches) {
    Hidden hidden = run.model->forward(run.tape, batch, {});
    run.model->forward_mtp(run.tape, hidden);
    const std::vector<const Block*> blocks = run.model->all_blocks();
    for (std::size_t l = 0; l < blocks.size(); ++l) {
      if (blocks[l]->feed_forward().bias() == nullptr) continue;
      const Tensor& ids = hidden.blocks[l].routes.ids;
      all.insert(all.end(), ids.as<std::int32_t>(), ids.as<std::int32_t>() + ids.shape.numel());
    }
    run.tape.end_microbatch();
  }
  return all;
}

TEST(AnticipatoryRouting, LagZeroIsNormalTraining) {
  const TemporaryFolder folder;
  StagedRun normal(staged_run(folder, kOff)), zero(staged_run(folder, always(0)));
  StagedRun lagged(staged_run(folder, always(2))), never(staged_run(folder, on_spike(2, 5, {})));
  for (StagedRun* run : {&normal, &zero, &lagged, &never}) run->to(kSteps);
  EXPECT_EQ(zero.losses, normal.losses);
  EXPECT_EQ(zero.bits(false), normal.bits(false));
  EXPECT_EQ(never.bits(), normal.bits());
  EXPECT_NE(lagged.losses, normal.losses);  // or nothing here means anything
}

// Across both borders of the sizes, with every kind of attention, MTP, and FP4 from step 5 on.
TEST(AnticipatoryRouting, RoutesByTheParametersOfLagStepsAgo) {
  const TemporaryFolder folder;
  for (const bool fp4 : {false, true}) {
    for (const std::int64_t lag : {1, 3}) {
      SCOPED_TRACE(concat("lag ", lag, fp4 ? " fp4" : ""));
      RunConfig config = staged_run(folder, always(lag));
      if (fp4) {
        config.model.fp4.experts = Quantization::kQat;
        config.model.fp4.from_step = 5;
      }
      StagedRun run(config), oracle(config);
      std::vector<LoadedState> states;
      int moved = 0;
      for (std::int64_t t = 0; t < kSteps; ++t) {
        states.push_back(run.state.snapshot());
        ASSERT_TRUE(run.step());
        if (t == 0) {
          EXPECT_TRUE(run.given.empty());  // the routers themselves
          continue;
        }
        oracle.state.restore(states[static_cast<std::size_t>(std::max<std::int64_t>(0, t - lag))]);
        EXPECT_EQ(run.given, choices(oracle, t)) << t;
        oracle.state.restore(states.back());
        moved += run.given != choices(oracle, t) ? 1 : 0;
      }
      EXPECT_GT(moved, 3);  // the lag matters
    }
  }
}

// Loads, from which the biases follow, count the ids that were used; the gates are of today.
TEST(AnticipatoryRouting, LoadsCountTheGivenIds) {
  const TemporaryFolder folder;
  StagedRun run(staged_run(folder, always(3)));
  run.to(5);
  ASSERT_TRUE(run.step());
  const std::int32_t* at = run.given.data();
  const std::vector<const Block*> blocks = run.model->all_blocks();
  std::vector<std::vector<std::int64_t>> want(blocks.size(), std::vector<std::int64_t>(5, 0));
  for (const Batch& batch : run.batches) {
    for (std::size_t l = 0; l < blocks.size(); ++l) {
      if (blocks[l]->feed_forward().bias() == nullptr) continue;
      for (std::int64_t n = 0; n < batch.rows(); ++n, at += 2) {
        for (int k = 0; k < 2 && !batch.is_padding(n); ++k) ++want[l][at[k]];
      }
    }
  }
  for (std::size_t l = 0; l < blocks.size(); ++l) {
    if (blocks[l]->feed_forward().bias() == nullptr) continue;
    EXPECT_EQ(run.runner->stats()[l].load, want[l]) << l;
  }
}

// Parameters that stand still choose now what they chose before: the pass ahead sees what training
// sees.
TEST(AnticipatoryRouting, WithoutLearningTheLagChangesNothing) {
  const TemporaryFolder folder;
  const auto frozen = [&](const AnticipatoryConfig& routing) {
    RunConfig c = staged_run(folder, routing);
    c.optim.lr = 1e-30;
    c.optim.end_lr = 0.0;
    c.stability.router_bias_speed = 0.0;
    StagedRun run(c);
    run.to(kSteps);
    return run.bits(false);
  };
  EXPECT_EQ(frozen(always(4)), frozen(kOff));
}

// Each with a period that begins at step 3 and ends inside the run.
const std::vector<AnticipatoryConfig> kModes = {always(4), on_spike(3, 5, RoutingDrain::kFresh),
                                                on_spike(2, 4, RoutingDrain::kReplay)};

void go_through(StagedRun& run, std::int64_t end) {
  while (run.state.position.step < end) {
    if (run.state.position.step == 3 &&
        run.config.stability.anticipatory.mode == AnticipatoryMode::kOnSpike) {
      run.routing->begin(3);
    }
    ASSERT_TRUE(run.step());
  }
}

// In the ramp, the active period, the drain and beyond; by another number of threads, and with
// recomputation.
TEST(AnticipatoryRouting, GoesOnFromEveryStepWithEqualBits) {
  const TemporaryFolder folder;
  for (const AnticipatoryConfig& mode : kModes) {
    RunConfig config = staged_run(folder, mode);
    StagedRun whole(config);
    std::vector<LoadedState> files, snapshots;
    for (std::int64_t t = 0; t < kSteps; ++t) {
      files.push_back(whole.on_disk());
      snapshots.push_back(whole.state.snapshot());
      go_through(whole, t + 1);
    }
    const std::uint64_t want = whole.bits();
    const int before = thread_count();
    for (std::size_t t = 0; t < files.size(); ++t) {
      set_thread_count(1 + static_cast<int>(t) % 3);
      config.train.recompute = t % 2 == 0 ? RecomputePolicy::kBlock : RecomputePolicy::kNone;
      StagedRun resumed(config, 2);
      resumed.state.load(files[t], "x");
      go_through(resumed, kSteps);
      EXPECT_EQ(resumed.bits(), want) << t;
      if (t % 4 != 1) continue;
      whole.state.restore(snapshots[t]);  // a rollback
      go_through(whole, kSteps);
      EXPECT_EQ(whole.bits(), want) << t;
    }
    set_thread_count(before);
  }
}

TEST(AnticipatoryRouting, APeriodEndsAsItsDrainSays) {
  const TemporaryFolder folder;
  const auto steps_with_ids = [&](const AnticipatoryConfig& mode) {
    StagedRun run(staged_run(folder, mode));
    std::string seen;
    while (run.state.position.step < kSteps) {
      go_through(run, run.state.position.step + 1);
      seen += run.given.empty() ? (run.routing->is_on() ? 'o' : '.') : '#';
    }
    return seen;
  };
  // The first step of a period has its own parameters: nothing is given.
  EXPECT_EQ(steps_with_ids(on_spike(3, 5, RoutingDrain::kFresh)), "...o####....");
  EXPECT_EQ(steps_with_ids(on_spike(3, 5, RoutingDrain::kReplay)), "...o#######.");
  EXPECT_EQ(steps_with_ids(on_spike(5, 2, RoutingDrain::kFresh)), "...o#.......");
  EXPECT_EQ(steps_with_ids(on_spike(5, 2, RoutingDrain::kReplay)), "...o######..");
  EXPECT_EQ(steps_with_ids(on_spike(0, 2, RoutingDrain::kReplay)), "...oo.......");
  EXPECT_EQ(steps_with_ids(on_spike(3, 500, RoutingDrain::kFresh)), "...o########");
  EXPECT_EQ(steps_with_ids(always(2)), "o###########");
}

// Another spike inside a period: it begins again and keeps what is routed.
TEST(AnticipatoryRouting, APeriodMayBeginAgain) {
  const TemporaryFolder folder;
  StagedRun run(staged_run(folder, on_spike(3, 5, RoutingDrain::kFresh)));
  run.routing->begin(0);
  EXPECT_EQ(run.routing->until(), 5);
  run.to(4);
  run.routing->begin(4);
  EXPECT_EQ(run.routing->until(), 9);
  EXPECT_FALSE(run.routing->update(4));
  ASSERT_TRUE(run.step());
  EXPECT_FALSE(run.given.empty());
  run.to(9);
  EXPECT_TRUE(run.routing->update(9));
  EXPECT_FALSE(run.routing->is_on());
}

TEST(AnticipatoryRouting, AStepThatIsGivenUpLeavesNoTrace) {
  const TemporaryFolder folder;
  for (const std::int64_t at : {0, 2, 5}) {
    StagedRun run(staged_run(folder, always(4))), whole(run.config);
    run.to(at);
    run.routing->update(at);
    const std::uint64_t before = run.bits();
    for (const int calls : {0, 1, 2, 3}) {  // ahead, and in the step itself
      int left = calls;
      EXPECT_EQ(run.step([&] { return left-- <= 0; }), false) << calls;
      EXPECT_EQ(run.bits(), before) << at << " " << calls;
    }
    run.to(kSteps);
    whole.to(kSteps);
    EXPECT_EQ(run.bits(), whole.bits());
  }
}

// A step without an update passes over its batches, and their ids with them. Where it makes a
// border of the sizes fall upon other batches, those are routed afresh.
TEST(AnticipatoryRouting, ASkippedStepTakesItsIdsAlong) {
  const TemporaryFolder folder;
  StagedRun run(staged_run(folder, always(3))), oracle(run.config);
  run.to(2);
  ASSERT_TRUE(run.step(nullptr, true));
  ASSERT_TRUE(run.step());  // on what would have been the batches of step 3
  EXPECT_EQ(run.given, choices(oracle, 3));
  std::string seen;
  while (run.state.position.step < 8) {
    ASSERT_TRUE(run.step());
    seen += run.given.empty() ? '.' : '#';
  }
  EXPECT_EQ(seen, ".####");
}

// A fork that has other wishes than the run whose state it goes on from.
TEST(AnticipatoryRouting, AnotherModeMayGoOnFromItsState) {
  const TemporaryFolder folder;
  StagedRun first(staged_run(folder, always(3)));
  first.to(4);
  const LoadedState file = first.on_disk();
  StagedRun off(staged_run(folder, kOff));
  off.state.load(file, "x");
  EXPECT_TRUE(off.routing->is_on());
  ASSERT_TRUE(off.step());
  EXPECT_FALSE(off.routing->is_on());
  EXPECT_TRUE(off.given.empty());
  EXPECT_EQ(off.queued(), 0);

  StagedRun shorter(staged_run(folder, always(1)));  // first uses up what is there
  shorter.state.load(file, "x");
  shorter.to(kSteps);
  EXPECT_FALSE(shorter.given.empty());

  StagedRun none(staged_run(folder, kOff));
  none.to(4);
  StagedRun later(staged_run(folder, always(3)));
  LoadedState older = none.on_disk();
  std::erase_if(older.arrays,
                [](const LoadedArray& a) { return a.path.starts_with("/state/routing/"); });
  later.state.load(older, "x");
  EXPECT_FALSE(later.routing->is_on());
  EXPECT_TRUE(later.routing->update(4));
  later.to(kSteps);
  EXPECT_FALSE(later.given.empty());
}

// Ids of other batches are not taken for these, nor those without the MTP block.
TEST(AnticipatoryRouting, IdsOfOtherBatchesAreForgotten) {
  const TemporaryFolder folder;
  StagedRun first(staged_run(folder, always(3)));
  first.to(4);
  const LoadedState file = first.on_disk();
  RunConfig without = first.config;
  without.loss.mtp = without.loss.mtp_late = 0.0;
  RunConfig elsewhere = first.config;
  elsewhere.run.seed = 7;
  for (const RunConfig& other : {without, elsewhere}) {
    StagedRun run(other);
    run.state.load(file, "x");
    ASSERT_TRUE(run.step());
    EXPECT_TRUE(run.given.empty());
    ASSERT_TRUE(run.step());
    EXPECT_FALSE(run.given.empty());
  }
}

TEST(AnticipatoryRouting, TakesNothingFromTheHeapOnceTheQueueIsFull) {
  if (!heap_is_counted()) GTEST_SKIP() << "a sanitizer owns the heap";
  const auto model = random_model(hybrid_config());
  Tape tape;
  StepRunner::Options options;
  options.micro_batches = 2;
  StepRunner runner(*model, tape, options);
  std::vector<Batch> all;
  for (std::uint64_t i = 0; i < 2; ++i) {
    all.push_back(pack(40, {{random_document(31, 23, i)}, {random_document(40, 23, i + 9)}}));
  }
  AnticipatoryRouting routing(*model, tape, always(3),
                              {[](std::int64_t) { return step_plan(); },
                               [&](std::int64_t, std::vector<Batch>& into) { into = all; }});
  for (std::int64_t t = 0; t < 9; ++t) {
    const long heap = heap_calls();
    routing.update(t);
    EXPECT_TRUE(routing.look_ahead(t, all));
    StepPlan plan = step_plan({}, t + 1);
    plan.given_ids = routing.given_ids();
    EXPECT_TRUE(runner.step(all, plan).updated);
    routing.batches_used();
    if (t >= 4) {
      EXPECT_EQ(heap_calls() - heap, 0) << t;
    }
  }
}

// The pass ahead keeps no activations: a step's memory is enough for it, and the queue is told.
TEST(AnticipatoryRouting, TheEstimateHoldsTheQueue) {
  const TemporaryFolder folder;
  StagedRun off(staged_run(folder, kOff)), on(staged_run(folder, always(4)));
  const MemoryEstimate without = estimate_memory(*off.model, off.config, off.plan.sizes());
  const MemoryEstimate with = estimate_memory(*on.model, on.config, on.plan.sizes());
  on.to(kSteps);
  EXPECT_LE(on.tape.stats().bytes(), with.tape.bytes());
  EXPECT_EQ(without.routes, 0U);
  // 5 steps of at most 64 rows, 2 learned layers and MTP's, 2 ids of 4 bytes.
  EXPECT_EQ(with.routes, 5U * 64 * 3 * 2 * 4);
  EXPECT_EQ(with.total() - without.total(), with.routes);
}

}  // namespace
}  // namespace shoal::testing

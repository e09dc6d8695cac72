#include "train/run/training_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/step_plan.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"
#include "train/checkpoint/hdf5_image.h"
#include "train/step/step_runner.h"

namespace shoal::testing {
namespace {

using ::testing::HasSubstr;

std::string bits(const StateView& view) {
  std::string all = concat(view.step, ",", view.tokens);
  for (const StateArray& array : view.arrays) {
    all += array.path + std::string(name_of(array.type)) + shape_text(array.shape);
    if (array.bytes() > 0) all.append(static_cast<const char*>(array.data), array.bytes());
  }
  return all;
}

// What a checkpoint on disk would give back.
LoadedState through_a_file(TrainingState& state) {
  StateView view = state.view();
  view.config = "run: {}";
  return parse_image(build_image(view), "x");
}

// A model in training, with a queue and a counter beside it that later features may keep.
struct Training {
  std::unique_ptr<Model> model;
  Tape tape;
  std::unique_ptr<StepRunner> runner;
  TrainingState state;
  std::vector<std::int32_t> queue;
  std::vector<double> window{1.0};
  std::int64_t counter = 0;

  explicit Training(std::uint64_t seed) : model(random_model(hybrid_config(), seed)) {
    runner = std::make_unique<StepRunner>(*model, tape, StepRunner::Options{});
    state.add(*model);
    state.add(runner->optimizer());
    state.add_list("/state/queue", queue);
    state.add_list("/state/window", window);
    state.add_number("/state/counter", counter);
  }
  // Steps whose batches follow from the state alone.
  double train(int steps) {
    double loss = 0.0;
    for (int i = 0; i < steps; ++i) {
      RunPosition& at = state.position;
      const Batch batch =
          pack(24, {{random_document(20, 23, static_cast<std::uint64_t>(at.samples))}});
      const StepOutcome out =
          runner->step({&batch, 1}, step_plan({0.3, 0.01, 0.5}, at.step + 1, 2e-3));
      EXPECT_TRUE(out.updated);
      loss = out.loss();
      ++at.step;
      at.tokens += 24;
      at.samples += 1 + (counter % 2);
      counter += 3;
      queue.push_back(static_cast<std::int32_t>(at.step));
      if (queue.size() > 4) queue.erase(queue.begin(), queue.begin() + 2);
      window.assign(static_cast<std::size_t>(at.step % 3), loss);
    }
    return loss;
  }
  std::string bits() { return shoal::testing::bits(state.view()); }
};

TEST(TrainingState, ASnapshotIsTheCheckpointOfItsStep) {
  Training run(1);
  run.train(3);
  const LoadedState snapshot = run.state.snapshot();
  const LoadedState file = through_a_file(run.state);
  const std::string then = run.bits();
  const double loss = run.train(10);
  const std::string want = run.bits();
  EXPECT_NE(want, then);

  run.state.restore(snapshot);
  EXPECT_EQ(run.bits(), then);
  EXPECT_EQ(run.train(10), loss);
  EXPECT_EQ(run.bits(), want);

  Training other(2);  // another process: other numbers until it loads
  other.train(1);
  other.state.load(file, "step-3");
  EXPECT_EQ(other.bits(), then);
  EXPECT_EQ(other.train(10), loss);
  EXPECT_EQ(other.bits(), want);
}

TEST(TrainingState, ListsComeBackWithTheirLength) {
  Training run(1);
  run.queue = {7, 8, 9};
  run.window.clear();
  const LoadedState file = through_a_file(run.state);
  run.queue = {1};
  run.window = {2.0, 3.0};
  run.state.load(file, "x");
  EXPECT_EQ(run.queue, (std::vector<std::int32_t>{7, 8, 9}));
  EXPECT_TRUE(run.window.empty());
}

TEST(TrainingState, AnOlderCheckpointMayLackWhatHasABeginning) {
  Training run(1);
  const LoadedState file = through_a_file(run.state);
  std::int64_t since = 5;
  std::vector<float> later{1.0F};
  run.state.add_number<std::int64_t>("/state/since", since, 11);
  run.state.add_list<float>("/state/later", later, std::vector<float>{2.0F, 3.0F});
  run.queue = {4};
  run.state.load(file, "x");
  EXPECT_EQ(since, 11);
  EXPECT_EQ(later, (std::vector<float>{2.0F, 3.0F}));
  EXPECT_TRUE(run.queue.empty());

  std::int64_t needed = 0;
  run.state.add_number("/state/needed", needed);
  since = 6;
  run.queue = {4};
  const std::string before = run.bits();
  EXPECT_THAT(message_of(Failure::kData, [&] { run.state.load(file, "x"); }),
              HasSubstr("missing /state/needed i64 []"));
  EXPECT_EQ(run.bits(), before);  // all or nothing
}

TEST(TrainingState, RefusesAnotherTypeOrShape) {
  Training run(1);
  const std::string before = run.bits();
  LoadedState file = through_a_file(run.state);
  for (LoadedArray& a : file.arrays) {
    if (a.path == "/state/window") a.type = StateType::kI64;
  }
  EXPECT_THAT(message_of(Failure::kData, [&] { run.state.load(file, "x"); }),
              HasSubstr("/state/window is i64 [1], this run needs f64 [1]"));
  EXPECT_EQ(run.bits(), before);
}

TEST(TrainingState, AnImportedModelBringsItsWeightsAlone) {
  Training source(2), run(1);
  StateView weights = model_view(*source.model);
  weights.config = "run: {}";
  run.queue = {3};
  run.state.load(parse_image(build_image(weights), "x"), "x");
  EXPECT_EQ(std::memcmp(run.model->store().values().data(), source.model->store().values().data(),
                        run.model->store().values().size_bytes()),
            0);
  EXPECT_EQ(run.queue, (std::vector<std::int32_t>{3}));
}

}  // namespace
}  // namespace shoal::testing

#include "train/generate/evaluator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "data/tokenizer/bytes.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"
#include "train/step/step_runner.h"

namespace shoal::testing {
namespace {

std::unique_ptr<Model> byte_model() {
  ModelConfig config = tiny_config();
  config.vocab_size = ByteTokenizer().vocab_size();
  config.num_nextn_predict_layers = 0;
  return random_model(config);
}

TaskConfig small_mqar() {
  TaskConfig task = default_task(TaskKind::kMqar);
  task.pairs = 4;
  task.value_length = 2;
  task.episodes = 7;
  return task;
}

// From the logits of all rows: how many answers are the likeliest token, and what the counted
// targets cost.
struct Counted {
  std::int64_t right = 0, answers = 0, tokens = 0;
  double sum = 0;
};
Counted count_by_hand(Model& model, const Batch& batch) {
  Tape tape;
  const Tensor logits = model.activations(tape, batch, false).logits;
  const std::int64_t V = logits.shape.cols();
  Counted c;
  for (std::int64_t n = 0; n < batch.rows(); ++n) {
    const float* z = logits.row(n);
    const std::int32_t target = batch.targets[static_cast<std::size_t>(n)];
    if (target < 0) continue;
    double sum = 0;
    for (std::int64_t v = 0; v < V; ++v) sum += std::exp(static_cast<double>(z[v]));
    c.sum += std::log(sum) - static_cast<double>(z[target]);
    ++c.tokens;
    if (!batch.is_answer(n)) continue;
    ++c.answers;
    bool right = true;
    for (std::int64_t v = 0; v < V; ++v) right = right && (v == target || z[v] < z[target]);
    c.right += right ? 1 : 0;
  }
  return c;
}

// A head whose answers are right here and there: digits get a lift.
void favour_digits(Model& model) {
  for (ModelParam& p : model.store().params()) {
    if (p.name != "head.weight") continue;
    for (std::int64_t v = 0; v < p.value.shape.rows(); ++v) {
      const bool digit = v >= 2 + '0' && v <= 2 + '9';
      for (std::int64_t c = 0; c < p.value.shape.cols(); ++c) {
        p.value.row(v)[c] *= digit ? 4.0F : 0.5F;
      }
    }
  }
}

// Asked before every forward pass, so that a stop waits for one micro-batch at most.
TEST(Evaluator, GivesUpBetweenMicroBatches) {
  const std::unique_ptr<Model> model = byte_model();
  const Dataset data(small_mqar(), 48, 0, true);
  Tape tape;
  int asked = 0;
  const auto evaluate_until = [&](int last) {
    asked = 0;
    return evaluate_unless([&] { return ++asked == last; }, *model, tape, data, 2, 0,
                           IndexerMode::kSparse);
  };
  EXPECT_TRUE(evaluate_until(-1));
  EXPECT_EQ(asked, 4);  // micro-batches of seven episodes
  for (int last = 1; last <= 4; ++last) {
    EXPECT_FALSE(evaluate_until(last));
    EXPECT_EQ(asked, last);
  }
}

TEST(Evaluator, CountsTheAnswersThatAreTheLikeliestToken) {
  const std::unique_ptr<Model> model = byte_model();
  favour_digits(*model);
  for (const bool answer_only : {false, true}) {
    TaskConfig task = small_mqar();
    task.loss_on_answer = answer_only;
    const Dataset data(task, 48, 0, true);
    Batch batch;
    data.fill_in_order(0, 7, batch);
    const Counted want = count_by_hand(*model, batch);
    Tape tape;
    // In batches of three the last one has padding.
    const EvalRecord got = evaluate(*model, tape, data, 3, 0);
    EXPECT_EQ(got.answers, 7 * 4 * 2);
    EXPECT_EQ(got.answers, want.answers);
    EXPECT_EQ(got.tokens, answer_only ? got.answers : 7 * 48);
    EXPECT_GT(want.right, 0);
    EXPECT_LT(want.right, want.answers);
    EXPECT_EQ(got.answer_accuracy,
              static_cast<double>(want.right) / static_cast<double>(want.answers));
    EXPECT_NEAR(got.loss, want.sum / static_cast<double>(want.tokens), 1e-4 * got.loss);
    EXPECT_EQ(got.bytes, 0);
    EXPECT_EQ(got.bits_per_byte, 0.0);
  }
}

TEST(Evaluator, SourcesAddUpToTheWhole) {
  const TemporaryFolder folder;
  const std::string t = folder.write("t.txt", "train"),
                    a = folder.write("a.txt", std::string(90, 'a')),
                    b = folder.write("b.txt", "what else\n\nthere is");
  const std::unique_ptr<Model> model = byte_model();
  Tape tape;
  const auto score = [&](const std::vector<CorpusPath>& files, std::int64_t micro_batch) {
    const DataSplit data = load_data({{{t}}, 0.0, files, 24, 1}, ByteTokenizer());
    return evaluate(*model, tape, data.validation, micro_batch, 0);
  };
  for (const std::int64_t micro_batch : {1, 3}) {
    const EvalRecord both = score({{a}, {b}}, micro_batch);
    ASSERT_EQ(both.sources.size(), 2U);
    EXPECT_EQ(both.sources[0].source, "a.txt");
    std::int64_t tokens = 0, bytes = 0;
    double sum = 0.0;
    const EvalRecord alone[] = {score({{a}}, micro_batch), score({{b}}, micro_batch)};
    for (std::size_t s = 0; s < 2; ++s) {
      EXPECT_TRUE(alone[s].sources.empty());
      EXPECT_NEAR(both.sources[s].loss, alone[s].loss, 1e-6);
      EXPECT_NEAR(both.sources[s].bits_per_byte, alone[s].bits_per_byte, 1e-6);
      tokens += both.sources[s].tokens;
      bytes += both.sources[s].bytes;
      sum += both.sources[s].loss * static_cast<double>(both.sources[s].tokens);
    }
    EXPECT_EQ(tokens, both.tokens);
    EXPECT_EQ(bytes, both.bytes);
    EXPECT_EQ(bytes, 90 + 9 + 8);
    EXPECT_NEAR(both.loss, sum / static_cast<double>(tokens), 1e-6);
  }
}

// The context counts in everything but the cross-entropy: experts have their load of it.
TEST(Evaluator, ContextOfATaskIsNoPaddingToAStep) {
  const std::unique_ptr<Model> model = byte_model();
  TaskConfig task = small_mqar();
  task.loss_on_answer = true;
  const Dataset data(task, 48, 1, false);
  std::vector<Batch> batches(2);
  data.fill({{0, 1, 2}}, batches[0]);
  data.fill({{3, 4, 5}}, batches[1]);
  EXPECT_EQ(count(batches).targets, 6 * 4 * 2);
  Tape tape;
  StepRunner::Options options;
  options.micro_batches = 2;
  StepRunner runner(*model, tape, options);
  const StepOutcome out = runner.gradients(batches, {});
  const Counted a = count_by_hand(*model, batches[0]), b = count_by_hand(*model, batches[1]);
  const double mean = (a.sum + b.sum) / static_cast<double>(a.tokens + b.tokens);
  EXPECT_NEAR(out.parts.ce, mean, 1e-4 * mean);
  for (const BlockStats& stats : runner.stats()) {
    EXPECT_EQ(std::accumulate(stats.load.begin(), stats.load.end(), std::int64_t{0}), 6 * 48 * 2);
  }
}

}  // namespace
}  // namespace shoal::testing

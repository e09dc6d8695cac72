#include "train/plan/batch_source.h"

#include <gtest/gtest.h>

#include "data/tokenizer/bytes.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

// 40 documents of 20 to 137 bytes.
std::string corpus() {
  std::string text;
  for (int d = 0; d < 40; ++d) {
    for (int i = 0; i < 20 + 3 * d; ++i) text += static_cast<char>('a' + (i * d + i) % 26);
    text += "\n\n";
  }
  return text;
}

RunConfig staged(const std::string& path) {
  RunConfig c;
  c.data.train = {{path}};
  c.data.validation_share = 0.0;
  c.data.sequence_length = 32;
  c.train.batch_tokens = 192;
  c.train.micro_batch = 2;
  c.train.stages = {{6, 64, 256, 1}, {13, 16, 128, 4}, {19, 48, 192, 0}};
  c.train.steps = 24;
  return c;
}

std::string text_of(const std::vector<Batch>& batches) {
  std::string all;
  for (const Batch& b : batches) {
    all += concat(b.B, "x", b.T, ":");
    for (const std::int32_t t : b.tokens) all += concat(t, " ");
    for (const std::int32_t t : b.targets) all += concat(t, " ");
    for (const std::int32_t t : b.first) all += concat(t, " ");
  }
  return all;
}

// A run of its own: one step after the other, in its own buffers.
std::vector<std::string> run_through(const BatchSource& source, const RunPlan& plan) {
  RunPosition position;
  std::vector<Batch> buffers;
  std::vector<std::string> seen;
  for (; !plan.is_complete(position.step); ++position.step) {
    source.batches(position, position.step, buffers);
    seen.push_back(text_of(buffers));
    position.samples += plan.at(position.step).sizes.sequences();
  }
  return seen;
}

TEST(BatchSource, LooksAheadAcrossStages) {
  const TemporaryFolder folder;
  const RunConfig config = staged(folder.write("corpus.txt", corpus()));
  const RunPlan plan(config);
  const BatchSource source(config, plan, ByteTokenizer());
  const std::vector<std::string> want = run_through(source, plan);
  ASSERT_EQ(want.size(), 24U);
  EXPECT_NE(want[0], want[1]);
  for (const std::int64_t ahead : {1, 5, 9, 20}) {
    RunPosition position;
    std::vector<Batch> now, later;  // beside the normal steps
    for (; position.step < plan.steps(); ++position.step) {
      source.batches(position, position.step, now);
      if (const std::int64_t at = position.step + ahead; at < plan.steps()) {
        source.batches(position, at, later);
        EXPECT_EQ(text_of(later), want[static_cast<std::size_t>(at)]) << at;
      }
      EXPECT_EQ(text_of(now), want[static_cast<std::size_t>(position.step)]);
      position.samples += plan.at(position.step).sizes.sequences();
    }
  }
  // And back: what a rollback trains on again.
  std::vector<Batch> before;
  source.batches({20, 0, plan.sequences_between(0, 20)}, 4, before);
  EXPECT_EQ(text_of(before), want[4]);
}

// A skipped step took its sequences: what follows is that much further on.
TEST(BatchSource, GoesOnBehindASkippedStep) {
  const TemporaryFolder folder;
  const RunConfig config = staged(folder.write("corpus.txt", corpus()));
  const RunPlan plan(config);
  const BatchSource source(config, plan, ByteTokenizer());
  std::vector<Batch> got, want;
  const RunPosition skipped{2, 0, 3 * 6};
  source.batches(skipped, 2, got);
  source.batches({3, 0, 3 * 6}, 3, want);
  EXPECT_EQ(text_of(got), text_of(want));
  source.batches(skipped, 4, got);
  source.batches({0, 0, 0}, 5, want);
  EXPECT_EQ(text_of(got), text_of(want));
}

TEST(BatchSource, TheFingerprintKnowsEveryLength) {
  const TemporaryFolder folder;
  RunConfig config = staged(folder.write("corpus.txt", corpus()));
  const auto fingerprint = [&] {
    return BatchSource(config, RunPlan(config), ByteTokenizer()).fingerprint();
  };
  const std::string all = fingerprint();
  EXPECT_EQ(fingerprint(), all);
  config.train.stages.back().sequence_length = 24;
  EXPECT_NE(fingerprint(), all);
  config.train.stages.clear();
  const std::string alone = fingerprint();
  EXPECT_EQ(alone, load_data(data_config(config, 32), ByteTokenizer()).train.fingerprint());
}

}  // namespace
}  // namespace shoal

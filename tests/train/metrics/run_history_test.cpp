#include "train/metrics/run_history.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "autograd/base/check.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

TEST(RunHistory, ReadsEveryKindAndSkipsWhatIsBroken) {
  std::istringstream in(
      "{\"kind\":\"step\",\"step\":1,\"loss\":2.5}\n"
      "{\"kind\":\"layer\",\"step\":1,\"layer\":\"mtp\",\"expert_load\":[1,2]}\n"
      "{\"kind\":\"eval\",\"step\":1,\"loss\":2.0,\"bits_per_byte\":3.0}\n"
      "{\"kind\":\"event\",\"step\":1,\"event\":\"spike\",\"norm\":7}\n"
      "{\"kind\":\"from the future\",\"step\":1}\n"
      "\n"
      "{\"kind\":\"step\",\"step\":2,\"lo");
  const RunHistory h = read_history(in);
  ASSERT_EQ(h.steps.size(), 1U);
  EXPECT_EQ(h.steps[0].loss, 2.5);
  EXPECT_EQ(h.evals.size(), 1U);
  ASSERT_EQ(h.layers.size(), 1U);
  EXPECT_EQ(h.layers[0].layer, LayerRecord::kMtp);
  ASSERT_EQ(h.events.size(), 1U);
  EXPECT_EQ(h.events[0].fields["norm"], 7);
  EXPECT_EQ(h.lines, 7);
  EXPECT_EQ(h.broken_lines, 3);
}

TEST(RunHistory, ARunThatWentBackCountsOnce) {
  std::stringstream lines;
  for (const std::int64_t n : {1, 2, 3, 2, 3, 4}) {
    StepRecord step;
    step.step = n;
    lines << line_of(json_of(step)) << '\n';
    lines << line_of(json_of(EvalRecord{.step = n})) << '\n';
    lines << line_of(json_of(LayerRecord{.step = n, .expert_load = {n}, .clamp = {}})) << '\n';
    lines << line_of(json_of(LayerRecord{.step = n, .layer = 1, .expert_load = {n}, .clamp = {}}))
          << '\n';
  }
  const RunHistory h = read_history(lines);
  ASSERT_EQ(h.steps.size(), 4U);
  EXPECT_EQ(h.evals.size(), 4U);
  EXPECT_EQ(h.layers.size(), 8U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(h.steps[i].step, static_cast<std::int64_t>(i) + 1);
    EXPECT_EQ(h.layers[2 * i].step, static_cast<std::int64_t>(i) + 1);
  }
}

TEST(RunHistory, LayersOfALongRunAreThinnedByStep) {
  std::stringstream lines;
  for (std::int64_t n = 1; n <= 5000; ++n) {
    for (std::int64_t l = 0; l < 3; ++l) {
      lines << line_of(json_of(LayerRecord{.step = n, .layer = l, .expert_load = {1}, .clamp = {}}))
            << '\n';
    }
  }
  const RunHistory h = read_history(lines);
  std::set<std::int64_t> steps;
  for (const LayerRecord& r : h.layers) steps.insert(r.step);
  EXPECT_LE(steps.size(), static_cast<std::size_t>(kMostLayerSteps));
  EXPECT_GT(steps.size(), static_cast<std::size_t>(kMostLayerSteps) / 2);
  EXPECT_EQ(h.layers.size(), steps.size() * 3);
  std::int64_t before = *steps.begin();
  EXPECT_EQ(before, 1);
  for (const std::int64_t step : steps) {
    EXPECT_TRUE(step == 1 || step - before == 8) << step;
    before = step;
  }
}

TEST(RunHistory, AMissingFileIsEmptyAndAFolderIsAnError) {
  const TemporaryFolder folder;
  EXPECT_EQ(read_history(folder / "metrics.jsonl").lines, 0);
  EXPECT_THROW(read_history(folder.path()), Error);
}

}  // namespace
}  // namespace shoal

#include "train/stability/group_health.h"

#include <gtest/gtest.h>

#include <Eigen/SVD>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/optim/testing.h"
#include "tests/support/step_plan.h"
#include "tests/support/tiny_model.h"

namespace shoal::testing {
namespace {

// By the published name alone.
std::string group_by_name(const std::string& name) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  if (has("mtp.")) return "mtp";
  if (has("indexer.")) return "indexer";
  if (has("norm")) return "norms";
  if (has("compressor.")) return "compressor";
  if (has("hc_")) return "mixing";
  if (has("embed.")) return "embed";
  if (has("head.")) return "head";
  if (has("shared_experts.") || has("ffn.w")) return "shared_experts";
  if (has("experts.")) return "experts";
  if (has("gate.")) return "router";
  return "attention";
}

struct Sums {
  double grads = 0, before = 0, after = 0, update = 0, ranks = 0;
  std::int64_t count = 0, matrices = 0;
};

double rank_of(const float* m, std::int64_t rows, std::int64_t cols) {
  Eigen::MatrixXd M(rows, cols);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < cols; ++j) M(i, j) = static_cast<double>(m[i * cols + j]);
  }
  const Eigen::ArrayXd squares =
      Eigen::JacobiSVD<Eigen::MatrixXd>(M).singularValues().array().square();
  return squares.sum() * squares.sum() / squares.square().sum();
}

std::vector<Batch> batches_for(std::int64_t count) {
  std::vector<Batch> all;
  for (std::int64_t i = 0; i < count; ++i) {
    all.push_back(pack(40, {{random_document(40, 23, static_cast<std::uint64_t>(i + 1))}}));
  }
  return all;
}

void check_groups(bool muon, std::int64_t micro_batches) {
  ModelConfig config = hybrid_config();
  config.mlp_layer_types[3] = FeedForwardKind::kDense;
  const auto model = random_model(config);
  Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
  StepRunner::Options options;
  options.optimizer.muon = muon;
  options.micro_batches = micro_batches;
  StepRunner runner(*model, tape, options);
  runner.keep_weights(true);
  std::vector<float> before;
  for (int step = 1; step <= 2; ++step) {
    before.assign(model->store().values().begin(), model->store().values().end());
    ASSERT_TRUE(
        runner.step(batches_for(micro_batches), step_plan({0.3, 0.01, 0.5}, step, 2e-3)).updated);
  }
  const std::vector<GroupRecord> got = group_records(runner, model->store(), 2);

  std::map<std::string, Sums> want;
  std::map<std::string, std::span<float>> momenta;
  for (const OptimizerState& s : runner.optimizer().state()) {
    if (s.field == "momentum") momenta[s.name] = s.data;
  }
  EXPECT_EQ(momenta.empty(), !muon);
  for (const ParamSlice& s : runner.optimizer().slices()) {
    Sums& sum = want[group_by_name(s.name)];
    for (std::int64_t i = s.offset; i < s.offset + s.size; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double g = runner.flat_gradients()[at], b = before[at], a = model->store().values()[at];
      sum.grads += g * g;
      sum.before += b * b;
      sum.after += a * a;
      sum.update += (a - b) * (a - b);
    }
    sum.count += s.size;
    if (!momenta.contains(s.name)) continue;
    for (const ParamSlice::Block& b : s.blocks) {
      const double rank = rank_of(momenta[s.name].data() + b.offset, b.rows, b.cols);
      if (std::isnan(rank)) continue;  // zeros: an expert without a token
      sum.ranks += rank;
      ++sum.matrices;
    }
  }
  ASSERT_EQ(got.size(), 11U);
  EXPECT_EQ(want.size(), got.size());
  for (const GroupRecord& r : got) {
    ASSERT_TRUE(want.contains(r.group)) << r.group;
    const Sums& sum = want[r.group];
    EXPECT_EQ(r.step, 2);
    const auto near = [&](double value, double expected, const char* what) {
      EXPECT_NEAR(value, expected, 1e-5 * expected) << what << " of " << r.group;
    };
    near(r.grad_norm, std::sqrt(sum.grads), "grad_norm");
    near(r.weight_rms, std::sqrt(sum.after / static_cast<double>(sum.count)), "weight_rms");
    near(r.update_ratio, std::sqrt(sum.update / sum.before), "update_ratio");
    EXPECT_GT(r.update_ratio, 0.0) << r.group;
    EXPECT_EQ(std::isnan(r.momentum_rank), sum.matrices == 0) << r.group;
    if (sum.matrices > 0) {
      near(r.momentum_rank, sum.ranks / static_cast<double>(sum.matrices), "momentum_rank");
    }
  }
}

TEST(GroupHealth, IsWhatPlainLoopsFind) {
  check_groups(true, 3);
  check_groups(false, 1);  // its gradient tree has one level
}

TEST(GroupHealth, HasEqualBitsForAnyThreadCountAndChangesNothing) {
  const auto run = [](bool keeps) {
    const auto model = random_model(hybrid_config());
    Tape tape({std::size_t{1} << 30, std::size_t{1} << 30});
    StepRunner::Options options;
    options.micro_batches = 2;
    StepRunner runner(*model, tape, options);
    std::string text;
    for (int step = 1; step <= 3; ++step) {
      runner.keep_weights(keeps);
      runner.step(batches_for(2), step_plan({0.3, 0.01, 0.5}, step, 2e-3));
      if (!keeps) continue;
      for (const GroupRecord& r : group_records(runner, model->store(), step)) {
        text += line_of(json_of(r)) + '\n';
      }
    }
    const std::span<const float> values = model->store().values();
    return std::pair(text, std::vector<float>(values.begin(), values.end()));
  };
  const auto want = run(true);
  EXPECT_EQ(run(false).second, want.second);
  for_thread_counts([&](int threads) { EXPECT_EQ(run(true), want) << threads << " threads"; });
}

}  // namespace
}  // namespace shoal::testing

#include "optim/optimizer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>

#include "autograd/base/check.h"
#include "optim/clip.h"
#include "tests/optim/testing.h"
#include "tests/support/heap_count.h"

namespace shoal {
namespace {

using testing::MatrixD;
using testing::MatrixF;

// Two whole matrices, one of two blocks, one unclipped, and parts for AdamW with gaps between.
std::vector<ParamSlice> model_slices() {
  std::vector<ParamSlice> all;
  all.push_back({.name = "embed", .offset = 0, .size = 70 * 30, .shape = {70, 30}, .decay = true});
  all.push_back({.name = "wq",
                 .offset = 2112,
                 .size = 24 * 40,
                 .shape = {24, 40},
                 .matrix = true,
                 .decay = true,
                 .blocks = {{0, 24, 40}}});
  all.push_back({.name = "hc_fn",
                 .offset = 3072,
                 .size = 24 * 50,
                 .shape = {24, 50},
                 .matrix = true,
                 .decay = true,
                 .blocks = {{0, 4, 50}, {200, 4, 50}, {400, 16, 50}}});
  all.push_back({.name = "sink", .offset = 4288, .size = 5, .shape = {5}});
  all.push_back({.name = "indexer.w",
                 .offset = 4304,
                 .size = 45 * 20,
                 .shape = {45, 20},
                 .matrix = true,
                 .decay = true,
                 .clipped = false,
                 .blocks = {{0, 45, 20}}});
  all.push_back({.name = "indexer.norm",
                 .offset = 5204,
                 .size = 7,
                 .shape = {7},
                 .decay = true,
                 .clipped = false});
  return all;
}
constexpr std::int64_t kNumel = 5220;
constexpr int kSteps = 12;

std::vector<float> gradients(int step) {
  return testing::normals(kNumel, 100 + static_cast<std::uint64_t>(step), 0.01 * step);
}

// The two optimizers in double precision, from the formulas of adamw.h and muon.h.
class Reference {
 public:
  Reference(const OptimizerConfig& config, const std::vector<float>& params)
      : c_(config), w_(params.begin(), params.end()), m_(w_.size()), v_(w_.size()) {}
  void step(const std::vector<float>& grads, int t, double lr, double clip_scale) {
    for (const ParamSlice& s : model_slices()) {
      const double scale = s.clipped ? clip_scale : 1.0;
      const double keep = s.decay ? 1.0 - lr * c_.weight_decay : 1.0;
      if (c_.muon && s.matrix) {
        for (const ParamSlice::Block& b : s.blocks) {
          muon(grads, s.offset + b.offset, b.rows, b.cols, lr, scale, keep);
        }
      } else {
        for (std::int64_t i = s.offset; i < s.offset + s.size; ++i) {
          adamw(static_cast<std::size_t>(i), scale * grads[static_cast<std::size_t>(i)], t, lr,
                keep);
        }
      }
    }
  }
  double operator[](std::int64_t i) const { return w_[static_cast<std::size_t>(i)]; }

 private:
  void adamw(std::size_t i, double g, int t, double lr, double keep) {
    m_[i] = c_.beta1 * m_[i] + (1 - c_.beta1) * g;
    v_[i] = c_.beta2 * v_[i] + (1 - c_.beta2) * g * g;
    const double m = m_[i] / (1 - std::pow(c_.beta1, t)), v = v_[i] / (1 - std::pow(c_.beta2, t));
    w_[i] = keep * w_[i] - lr * m / (std::sqrt(v) + c_.eps);
  }
  void muon(const std::vector<float>& grads, std::int64_t offset, std::int64_t rows,
            std::int64_t cols, double lr, double scale, double keep) {
    Eigen::Map<MatrixD> w(w_.data() + offset, rows, cols), m(m_.data() + offset, rows, cols);
    const MatrixD g =
        scale * Eigen::Map<const MatrixF>(grads.data() + offset, rows, cols).cast<double>();
    m = c_.momentum * m + g;
    const MatrixD o = testing::newton_schulz_reference(c_.momentum * m + g) *
                      std::sqrt(static_cast<double>(std::max(rows, cols))) * c_.update_rms;
    w = keep * w - lr * o;
  }

  OptimizerConfig c_;
  std::vector<double> w_, m_, v_;
};

struct Trained {
  std::vector<float> params, state;
};
Trained train(const OptimizerConfig& config, std::vector<float> params, float clip = 0.5F) {
  Optimizer optimizer(config, model_slices(), kNumel);
  for (int t = 1; t <= kSteps; ++t) optimizer.step(params, gradients(t), t, 0.02F, clip);
  Trained run{std::move(params), {}};
  for (const OptimizerState& s : optimizer.state()) {
    run.state.insert(run.state.end(), s.data.begin(), s.data.end());
  }
  return run;
}

void expect_reference(const OptimizerConfig& config) {
  const std::vector<float> start = testing::normals(kNumel, 1);
  Reference want(config, start);
  for (int t = 1; t <= kSteps; ++t) want.step(gradients(t), t, static_cast<double>(0.02F), 0.5);
  const std::vector<float> got = train(config, start).params;
  for (const ParamSlice& s : model_slices()) {
    double error = 0.0, moved = 0.0;
    for (std::int64_t i = s.offset; i < s.offset + s.size; ++i) {
      const auto at = static_cast<std::size_t>(i);
      error += std::pow(static_cast<double>(got[at]) - want[i], 2);
      moved += std::pow(want[i] - static_cast<double>(start[at]), 2);
    }
    EXPECT_LE(std::sqrt(error), 1e-5 * std::sqrt(moved)) << s.name;
    EXPECT_GT(moved, 0.0);
  }
}

TEST(Optimizer, AdamwMatchesItsFormula) { expect_reference({.muon = false}); }
TEST(Optimizer, MuonMatchesItsFormula) { expect_reference({}); }
TEST(Optimizer, OtherConstantsReachTheFormula) {
  expect_reference({.weight_decay = 0.3,
                    .beta1 = 0.7,
                    .beta2 = 0.9,
                    .eps = 1e-3,
                    .momentum = 0.8,
                    .update_rms = 0.3});
}

TEST(Optimizer, BitsDoNotDependOnThreads) {
  for (const bool muon : {false, true}) {
    const OptimizerConfig config{.muon = muon};
    const Trained want = train(config, testing::normals(kNumel, 2));
    testing::for_thread_counts([&](int threads) {
      const Trained got = train(config, testing::normals(kNumel, 2));
      EXPECT_EQ(got.params, want.params) << threads << " threads";
      EXPECT_EQ(got.state, want.state) << threads << " threads";
    });
  }
}

TEST(Optimizer, ZeroGradientsOnlyDecay) {
  const std::vector<float> start = testing::normals(kNumel, 3), zero(kNumel, 0.0F);
  for (const bool muon : {false, true}) {
    std::vector<float> params = start;
    Optimizer optimizer({.muon = muon}, model_slices(), kNumel);
    optimizer.step(params, zero, 1, 0.5F, 1.0F);
    for (const ParamSlice& s : model_slices()) {
      for (std::int64_t i = s.offset; i < s.offset + s.size; ++i) {
        const auto at = static_cast<std::size_t>(i);
        EXPECT_FLOAT_EQ(params[at], start[at] * (s.decay ? 0.95F : 1.0F)) << s.name;
      }
    }
  }
}

// Squares of such gradients vanish in float32: the update must stay small, not become inf or NaN.
TEST(Optimizer, AdamwSurvivesGradientsWithoutSquares) {
  for (const float g : {1e-18F, 1e-21F, 1e-23F, 1e-30F, 1e-40F}) {
    std::vector<float> params(kNumel, 0.0F);
    Optimizer optimizer({.muon = false}, model_slices(), kNumel);
    optimizer.step(params, std::vector<float>(kNumel, g), 1, 1.0F, 1.0F);
    for (const ParamSlice& s : model_slices()) {
      const float moved = params[static_cast<std::size_t>(s.offset)];
      EXPECT_LE(moved, 0.0F) << g;
      EXPECT_GE(moved, -1.5F) << g;
    }
  }
}

TEST(Optimizer, ClipScaleLeavesUnclippedSlicesAlone) {
  // AdamW and Muon hardly see a constant factor: the moments show it.
  for (const bool muon : {false, true}) {
    std::vector<float> params(kNumel, 0.0F);
    Optimizer optimizer({.muon = muon}, model_slices(), kNumel);
    optimizer.step(params, std::vector<float>(kNumel, 1.0F), 1, 0.1F, 0.25F);
    for (const OptimizerState& s : optimizer.state()) {
      const float g = s.name.starts_with("indexer") ? 1.0F : 0.25F;
      const float want = s.field == "momentum"  ? g
                         : s.field == "exp_avg" ? 0.1F * g
                                                : 0.05F * g * g;
      EXPECT_FLOAT_EQ(s.data.front(), want) << s.name << ' ' << s.field;
      EXPECT_FLOAT_EQ(s.data.back(), want) << s.name << ' ' << s.field;
    }
  }
}

TEST(Optimizer, LeavesGapsBetweenSlicesAlone) {
  std::vector<float> params(kNumel, 7.0F);
  Optimizer optimizer({}, model_slices(), kNumel);
  optimizer.step(params, std::vector<float>(kNumel, 1.0F), 1, 0.1F, 1.0F);
  for (const std::int64_t gap : {2100, 2111, 4272, 4287, 4293, 4303, 5211, 5219}) {
    EXPECT_EQ(params[static_cast<std::size_t>(gap)], 7.0F) << gap;
  }
}

TEST(Optimizer, StateNamesFieldsAndRestores) {
  Optimizer optimizer({}, model_slices(), kNumel);
  std::vector<float> params = testing::normals(kNumel, 5);
  for (int t = 1; t <= 3; ++t) optimizer.step(params, gradients(t), t, 0.02F, 1.0F);
  std::vector<std::string> names;
  for (const OptimizerState& s : optimizer.state()) names.push_back(s.name + '/' + s.field);
  EXPECT_EQ(names, (std::vector<std::string>{"embed/exp_avg", "embed/exp_avg_sq", "wq/momentum",
                                             "hc_fn/momentum", "sink/exp_avg", "sink/exp_avg_sq",
                                             "indexer.w/momentum", "indexer.norm/exp_avg",
                                             "indexer.norm/exp_avg_sq"}));
  EXPECT_EQ(optimizer.state()[0].shape, (std::vector<std::int64_t>{70, 30}));

  Optimizer restored({}, model_slices(), kNumel);
  const std::vector<OptimizerState> from = optimizer.state(), to = restored.state();
  for (std::size_t i = 0; i < from.size(); ++i) {
    ASSERT_EQ(from[i].data.size(), to[i].data.size());
    std::copy(from[i].data.begin(), from[i].data.end(), to[i].data.begin());
  }
  std::vector<float> again = params;
  for (int t = 4; t <= 6; ++t) {
    optimizer.step(params, gradients(t), t, 0.02F, 1.0F);
    restored.step(again, gradients(t), t, 0.02F, 1.0F);
  }
  EXPECT_EQ(params, again);
}

TEST(Optimizer, StateBytesFollowTheSplit) {
  // Moments begin on lines of 16 floats.
  const Optimizer muon({}, model_slices(), kNumel);
  EXPECT_EQ(muon.state_bytes(), 4U * (2 * 2112 + 960 + 1200 + 2 * 16 + 912 + 2 * 16));
  const Optimizer adamw({.muon = false}, model_slices(), kNumel);
  EXPECT_EQ(adamw.state_bytes(), 4U * 2 * (2112 + 960 + 1200 + 16 + 912 + 16));
}

TEST(Optimizer, RefusesWrongBuffersAndSlices) {
  Optimizer optimizer({}, model_slices(), kNumel);
  std::vector<float> params(kNumel - 1), grads(kNumel);
  EXPECT_THROW(optimizer.step(params, grads, 1, 0.1F, 1.0F), Error);
  EXPECT_THROW(optimizer.step(grads, grads, 0, 0.1F, 1.0F), Error);
  EXPECT_THROW(Optimizer({}, model_slices(), 5000), Error);
  std::vector<ParamSlice> overlap = model_slices();
  overlap[1].offset = 2099;
  EXPECT_THROW(Optimizer({}, overlap, kNumel), Error);
  std::vector<ParamSlice> uncovered = model_slices();
  uncovered[2].blocks.pop_back();
  EXPECT_THROW(Optimizer({}, uncovered, kNumel), Error);
  std::vector<ParamSlice> misshapen = model_slices();
  misshapen[0].shape = {70, 31};
  EXPECT_THROW(Optimizer({}, misshapen, kNumel), Error);
}

TEST(Optimizer, WarmStepsTakeNoMemory) {
  if (!testing::heap_is_counted()) GTEST_SKIP() << "a sanitizer owns the heap";
  ASSERT_GT(testing::heap_calls(), 0);
  std::vector<float> params = testing::normals(kNumel, 8);
  const std::vector<float> grads = gradients(1);
  const std::vector<ParamSlice> slices = model_slices();
  Optimizer optimizer({}, slices, kNumel);
  std::vector<long> faults(11);
  long calls = 0;
  const auto step = [&](int t) {
    const GradHealth health = measure(grads, slices);
    optimizer.step(params, grads, t, 0.01F, clip_scale(health.norm, 1.0));
  };
  step(1);
  step(2);
  for (std::size_t i = 0; i < faults.size(); ++i) {
    rusage before{}, after{};
    const long calls_before = testing::heap_calls();
    getrusage(RUSAGE_SELF, &before);
    step(static_cast<int>(i) + 3);
    getrusage(RUSAGE_SELF, &after);
    calls += testing::heap_calls() - calls_before;
    faults[i] = after.ru_minflt - before.ru_minflt;
  }
  EXPECT_EQ(calls, 0);
  std::nth_element(faults.begin(), faults.begin() + 5, faults.end());
  EXPECT_EQ(faults[5], 0);
}

}  // namespace
}  // namespace shoal

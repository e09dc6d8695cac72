// Who chooses the experts, and how tokens reach them, changes no bit.
#include <gtest/gtest.h>

#include <cstring>

#include "layers/objective/next_token.h"
#include "layers/statistics.h"
#include "tests/support/tiny_model.h"

namespace shoal::testing {
namespace {

// A row for each token and expert, as an exchange between processes would carry them.
struct SendRows {
  static constexpr std::string_view kName = "send_rows";
  enum Input { kX, kGates };
  struct Saved {
    Tensor x, gates;
  };
  static void forward(Tape&, const Saved& s, Outputs y) {
    const std::int64_t K = s.gates.shape.cols(), C = s.x.shape.cols();
    for (std::int64_t r = 0; r < s.gates.shape.numel(); ++r) {
      std::copy_n(s.x.row(r / K), C, y[kX].row(r));
      *y[kGates].row(r) = s.gates.as<float>()[r];
    }
  }
  static void backward(Tape&, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t N = s.x.shape.rows(), K = s.gates.shape.cols(), C = s.x.shape.cols();
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t k = 0; k < K; ++k) {
        const std::int64_t r = n * K + k;
        if (dx[kX]) {
          write_grad(dx[kX].data() + n * C, k == 0 ? dx[kX].beta : 1.0F, C,
                     [=](std::int64_t c) { return dy[kX].row(r)[c]; });
        }
        if (dx[kGates]) {
          write_grad(dx[kGates].data() + r, dx[kGates].beta, 1,
                     [=](std::int64_t) { return *dy[kGates].row(r); });
        }
      }
    }
  }
};

struct CombineRows {
  static constexpr std::string_view kName = "combine_rows";
  struct Saved {
    Tensor rows;
    std::int64_t K;
  };
  static void forward(Tape&, const Saved& s, Outputs y) {
    const std::int64_t C = s.rows.shape.cols();
    for (std::int64_t r = 0; r < s.rows.shape.rows(); ++r) {
      for (std::int64_t c = 0; c < C; ++c) {
        float& to = y[0].row(r / s.K)[c];
        to = (r % s.K == 0 ? 0.0F : to) + s.rows.row(r)[c];
      }
    }
  }
  static void backward(Tape&, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t C = s.rows.shape.cols();
    for (std::int64_t r = 0; r < s.rows.shape.rows(); ++r) {
      write_grad(dx[0].data() + r * C, dx[0].beta, C,
                 [=](std::int64_t c) { return dy[0].row(r / s.K)[c]; });
    }
  }
};

class RowByRow final : public Dispatch {
 public:
  ExpertRows send(Tape& tape, const ExpertRows& own) const override {
    ++sent;
    const std::int64_t K = own.ids.shape.cols(), R = own.ids.shape.numel();
    ExpertRows rows = own;
    rows.x = tape.alloc({R, own.x.shape.cols()});
    rows.gates = tape.alloc({R, 1});
    rows.ids.shape = {R, 1};
    rows.valid = tape.alloc({R}, DType::kI32);
    for (std::int64_t r = 0; r < R; ++r) {
      rows.valid.as<std::int32_t>()[r] = own.valid.as<std::int32_t>()[r / K];
    }
    tape.apply<SendRows>({own.x, own.gates}, {own.x, own.gates}, {&rows.x, &rows.gates});
    rows.origin = own.ids;
    return rows;
  }
  Tensor combine(Tape& tape, Tensor y, const ExpertRows& sent_rows) const override {
    const std::int64_t K = sent_rows.origin.shape.cols();
    Tensor out = tape.alloc({y.shape.rows() / K, y.shape.cols()});
    tape.apply<CombineRows>({y, K}, {y}, {&out});
    return out;
  }
  mutable int sent = 0;
};

struct Pass {
  float loss = 0;
  std::vector<float> gradients;
  ModelStats stats;
  std::vector<std::vector<std::int32_t>> ids;  // of each block
};

class RoutesTest : public ::testing::TestWithParam<bool> {
 protected:
  static ModelConfig config() {
    ModelConfig c = hybrid_config();
    c.swiglu_limit = 0.5;  // so that the counters count
    c.mlp_layer_types[4] = FeedForwardKind::kDense;
    return c;
  }
  Pass run(const ForwardPlan& plan) {
    Pass pass;
    pass.gradients.resize(static_cast<std::size_t>(model_->store().flat_size()));
    model_->store().bind_grads(pass.gradients.data());
    const Batch batch = pack(40, {{random_document(28, 23, 1), random_document(7, 23, 2)},
                                  {random_document(33, 23, 3)}});
    Hidden hidden = model_->forward(tape_, batch, plan);
    const Loss loss = NextToken().loss(tape_, *model_, hidden, {0.3, 0.1, 1.0}, count({&batch, 1}));
    tape_.backward(loss.total);
    pass.loss = *loss.total.as<float>();
    pass.stats = make_stats(*model_);
    add(pass.stats, hidden);
    for (const Block::Result& block : hidden.blocks) {
      const Tensor& ids = block.routes.ids;
      pass.ids.emplace_back();
      if (ids) {
        pass.ids.back().assign(ids.as<std::int32_t>(), ids.as<std::int32_t>() + ids.shape.numel());
      }
    }
    tape_.end_microbatch();
    for (ModelParam& p : model_->store().params()) {
      if (!p.grad_written) std::fill_n(p.grad.as<float>(), p.grad.shape.numel(), 0.0F);
    }
    return pass;
  }
  static void expect_equal(const Pass& got, const Pass& want) {
    EXPECT_EQ(got.loss, want.loss);
    EXPECT_EQ(got.ids, want.ids);
    EXPECT_EQ(std::memcmp(got.gradients.data(), want.gradients.data(),
                          want.gradients.size() * sizeof(float)),
              0);
    for (std::size_t l = 0; l < want.stats.size(); ++l) {
      EXPECT_EQ(got.stats[l].load, want.stats[l].load) << l;
      EXPECT_EQ(got.stats[l].clamped.pairs, want.stats[l].clamped.pairs) << l;
      EXPECT_EQ(got.stats[l].clamped.gate_high, want.stats[l].clamped.gate_high) << l;
      EXPECT_EQ(got.stats[l].clamped.up_low, want.stats[l].clamped.up_low) << l;
      EXPECT_GT(want.stats[l].clamped.gate_high, 0) << l;
    }
  }
  ForwardPlan plan() const { return {.recompute = GetParam(), .indexer = {{}, true}}; }

  std::unique_ptr<Model> model_ = random_model(config());
  Tape tape_{{std::size_t{1} << 30, std::size_t{1} << 30}};
};

TEST_P(RoutesTest, GivenExpertsThatEqualTheOwnChoiceChangeNothing) {
  ForwardPlan given = plan();
  given.indexer.mode = IndexerMode::kSparse;
  const Pass own = run(given);
  std::vector<std::vector<std::int32_t>> ids = own.ids;
  std::vector<Tensor> tensors;
  for (std::vector<std::int32_t>& of_block : ids) {
    const auto rows = static_cast<std::int64_t>(of_block.size()) / 2;
    tensors.push_back(
        {of_block.empty() ? nullptr : of_block.data(), {rows, 2}, DType::kI32, kConstant});
  }
  given.given_ids = tensors;
  expect_equal(run(given), own);
  // Others are followed, and weighed by the router's own scores.
  std::swap(ids[2][0], ids[2][1]);
  std::vector<std::int32_t>& layer = ids[3];
  for (std::int32_t& e : layer) e = (e + 1) % 5;
  const Pass other = run(given);
  EXPECT_EQ(other.ids, ids);
  EXPECT_NE(other.loss, own.loss);
  EXPECT_NE(other.stats[3].load, own.stats[3].load);
}

TEST_P(RoutesTest, ADispatchOfItsOwnChangesNothing) {
  ForwardPlan sent = plan();
  sent.indexer.mode = IndexerMode::kSparse;
  const Pass here = run(sent);
  const RowByRow dispatch;
  sent.dispatch = &dispatch;
  expect_equal(run(sent), here);
  EXPECT_EQ(dispatch.sent, GetParam() ? 2 * 5 : 5);  // five blocks have routed experts
}

INSTANTIATE_TEST_SUITE_P(Recompute, RoutesTest, ::testing::Bool());

}  // namespace
}  // namespace shoal::testing

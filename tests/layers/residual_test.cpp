// Spec 13.3, fixture 11: with W = 0, a large diagonal of b_res, b_post = 0 and b_pre = logit(1/n)
// a network with n streams is a plain pre-norm residual network on every stream, up to hc_eps.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "tests/support/tiny_model.h"

namespace shoal::testing {
namespace {

void set_to_pre_norm(Model& model, std::int64_t n) {
  const double read = std::log(1.0 / static_cast<double>(n - 1));  // logit(1/n)
  for (ModelParam& p : model.store().params()) {
    float* w = p.value.as<float>();
    if (p.name.find("hc_") == std::string::npos) continue;
    if (p.name.ends_with("_fn")) std::fill_n(w, p.value.shape.numel(), 0.0F);
    if (!p.name.ends_with("_base")) continue;
    std::fill_n(w, p.value.shape.numel(), 0.0F);
    std::fill_n(w, n, static_cast<float>(read));
    if (p.name.find("hc_head") != std::string::npos) continue;
    for (std::int64_t j = 0; j < n; ++j) w[2 * n + j * n + j] = 40.0F;
  }
}

TEST(Residual, StreamsWithoutMixingAreAPlainNetwork) {
  constexpr std::int64_t n = 4;
  ModelConfig config = tiny_config();
  config.layer_types.assign(3, AttentionKind::kSliding);
  config.mlp_layer_types = {FeedForwardKind::kHashMoe, FeedForwardKind::kMoe,
                            FeedForwardKind::kMoe};
  config.hc_mult = n;
  const auto streams = random_model(config);
  set_to_pre_norm(*streams, n);
  config.residual = ResidualKind::kPlain;
  const auto plain = random_model(config);  // the same values under the same names
  const Batch batch = pack(30, {{random_document(30, 23, 1)}, {random_document(12, 23, 2)}});
  Tape tape({1 << 28, 1 << 28});
  const Model::Activations one = plain->activations(tape, batch, true);
  const Model::Activations many = streams->activations(tape, batch, true);
  const std::int64_t C = config.hidden_size;
  ASSERT_EQ(one.streams.size(), many.streams.size());
  // hc_eps = 1e-6 on every read and in every mixing, six sublayers deep.
  for (std::size_t l = 0; l < one.streams.size(); ++l) {
    double worst = 0.0, top = 0.0;
    for (std::int64_t i = 0; i < batch.rows(); ++i) {
      for (std::int64_t k = 0; k < n; ++k) {
        for (std::int64_t c = 0; c < C; ++c) {
          const double want = one.streams[l].as<float>()[i * C + c];
          worst =
              std::max(worst, std::abs(many.streams[l].as<float>()[(i * n + k) * C + c] - want));
          top = std::max(top, std::abs(want));
        }
      }
    }
    EXPECT_LT(worst, 5e-5 * top) << "streams " << l;
  }
  for (std::int64_t i = 0; i < batch.rows() * config.vocab_size; ++i) {
    ASSERT_NEAR(many.logits.as<float>()[i], one.logits.as<float>()[i], 1e-4);
  }
}

// The fresh start that the configuration recommends: n equal streams, close to a plain residual.
TEST(Residual, AFreshModelStartsWithEqualStreams) {
  for (const ResidualKind kind : {ResidualKind::kManifold, ResidualKind::kHyper}) {
    ModelConfig config = tiny_config();
    config.residual = kind;
    config.init.hc_scale = 0.0;  // the static part alone
    config.finish("test");
    Model model(config);
    model.allocate();
    model.initialise(1, {});
    Tape tape({1 << 28, 1 << 28});
    const Batch batch = pack(9, {{random_document(9, 23, 1)}});
    const Model::Activations a = model.activations(tape, batch, false);
    const Tensor X = a.streams.back();
    const std::int64_t n = X.shape[1], C = X.shape[2];
    for (std::int64_t i = 0; i < 9; ++i) {
      for (std::int64_t k = 1; k < n; ++k) {
        for (std::int64_t c = 0; c < C; ++c) {
          EXPECT_NEAR(X.as<float>()[(i * n + k) * C + c], X.as<float>()[i * n * C + c], 1e-4);
        }
      }
    }
  }
}

// Names, shapes and values of a fresh model.
TEST(Model, FreshValuesDependOnSeedAndNameAlone) {
  ModelConfig small = tiny_config();
  small.finish("test");
  ModelConfig large = tiny_config();
  large.layer_types.assign(3, AttentionKind::kSliding);
  large.mlp_layer_types.push_back(FeedForwardKind::kMoe);
  large.finish("test");
  std::map<std::string, std::vector<float>> values[2];
  for (int i = 0; i < 2; ++i) {
    Model model(i == 0 ? small : large);
    model.allocate();
    model.initialise(7, {});
    model.store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
      const float* from = p.value.as<float>() + piece.offset;
      values[i][piece.name].assign(from, from + piece.shape.numel());
    });
  }
  for (const auto& [name, value] : values[0]) EXPECT_EQ(value, values[1][name]) << name;
  EXPECT_NE(values[1]["layers.0.attn.wq_a.weight"], values[1]["layers.1.attn.wq_a.weight"]);
  // Normal with the standard deviation of spec 10.5, ones, zeros, and mHC's own start (4.2).
  const std::vector<float>& w = values[0]["layers.0.ffn.experts.1.w1.weight"];
  double squares = 0.0;
  for (const float x : w) squares += static_cast<double>(x) * x;
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(w.size())), 0.5 / std::sqrt(19.0), 0.02);
  EXPECT_EQ(values[0]["norm.weight"], std::vector<float>(19, 1.0F));
  EXPECT_EQ(values[0]["layers.1.attn.attn_sink"], std::vector<float>(6, 0.0F));
  EXPECT_EQ(values[0]["layers.1.hc_attn_scale"], std::vector<float>(3, 0.01F));
  EXPECT_EQ(values[0]["layers.1.hc_attn_base"],
            (std::vector<float>{0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 6, 0, 0, 0, 6}));
}

}  // namespace
}  // namespace shoal::testing

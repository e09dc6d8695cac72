#include "layers/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "autograd/base/check.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

ModelConfig two_layers() {
  ModelConfig m;
  m.num_hidden_layers = 2;
  return m;
}

TEST(ModelConfig, FillsWhatIsDerived) {
  ModelConfig m = two_layers();
  m.finish("model");
  EXPECT_EQ(m.layer_types, std::vector<AttentionKind>(2, AttentionKind::kSliding));
  EXPECT_EQ(m.mlp_layer_types, std::vector<FeedForwardKind>(2, FeedForwardKind::kMoe));
  EXPECT_EQ(m.hc_mult, 4);

  ModelConfig listed;
  listed.layer_types.assign(3, AttentionKind::kSliding);
  listed.residual = ResidualKind::kPlain;
  listed.finish("model");
  EXPECT_EQ(listed.num_hidden_layers, 3);
  EXPECT_EQ(listed.mlp_layer_types.size(), 3U);
  EXPECT_EQ(listed.hc_mult, 1);

  ModelConfig again = listed;
  again.finish("model");
  EXPECT_EQ(again, listed);
}

struct BadModel {
  const char* key;
  std::function<void(ModelConfig&)> spoil;
};

// Each is alone: exactly one problem, and of this key.
const std::vector<BadModel>& bad_models() {
  constexpr std::int64_t kHuge = kMaxSize + 1;
  constexpr AttentionKind kCsa = AttentionKind::kCompressedSparse;
  constexpr AttentionKind kHca = AttentionKind::kHeavilyCompressed;
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  static const std::vector<BadModel> kCases = {
      {"layer_types", [](auto& m) { m.num_hidden_layers = 0; }},
      {"layer_types", [](auto& m) { m.layer_types.assign(3, AttentionKind::kSliding); }},
      {"mlp_layer_types", [](auto& m) { m.mlp_layer_types.assign(1, FeedForwardKind::kDense); }},
      {"num_hidden_layers", [](auto& m) { m.num_hidden_layers = -1; }},
      {"num_hidden_layers", [](auto& m) { m.num_hidden_layers = 1000000000; }},
      {"vocab_size", [](auto& m) { m.vocab_size = 1, m.eos_token_id = 0; }},
      {"vocab_size", [](auto& m) { m.vocab_size = kHuge; }},
      {"hidden_size", [](auto& m) { m.hidden_size = 0; }},
      {"hidden_size", [](auto& m) { m.hidden_size = kMaxSize; }},
      {"max_position_embeddings", [](auto& m) { m.max_position_embeddings = 0; }},
      {"rms_norm_eps", [](auto& m) { m.rms_norm_eps = 0; }},
      {"initializer_range", [](auto& m) { m.initializer_range = -1; }},
      {"num_attention_heads", [](auto& m) { m.num_attention_heads = 0; }},
      {"head_dim", [](auto& m) { m.head_dim = kHuge; }},
      {"qk_rope_head_dim", [](auto& m) { m.qk_rope_head_dim = 0; }},
      {"qk_rope_head_dim", [](auto& m) { m.qk_rope_head_dim = 31; }},
      {"qk_rope_head_dim", [](auto& m) { m.qk_rope_head_dim = m.head_dim + 2; }},
      {"q_lora_rank", [](auto& m) { m.q_lora_rank = -3; }},
      {"o_groups", [](auto& m) { m.o_groups = 3; }},
      {"o_groups", [](auto& m) { m.o_groups = 0; }},
      {"o_lora_rank", [](auto& m) { m.o_lora_rank = 0; }},
      {"sliding_window", [](auto& m) { m.sliding_window = 0; }},
      {"rope_parameters.main.rope_theta", [](auto& m) { m.rope_main.theta = 1; }},
      {"rope_parameters.main.rope_theta", [](auto& m) { m.rope_main.theta = kNan; }},
      {"rope_parameters.main.factor",
       [](auto& m) { m.rope_main.yarn = true, m.rope_main.factor = 0.5; }},
      {"rope_parameters.main.beta_fast",
       [](auto& m) { m.rope_main.yarn = true, m.rope_main.beta_fast = 0.5; }},
      {"rope_parameters.compress.rope_theta",
       [](auto& m) {
         m.layer_types = {kCsa, kCsa}, m.rope_compress.theta = 1;
       }},
      {"rope_parameters.compress.factor",
       [](auto& m) {
         m.layer_types = {kHca, kHca}, m.rope_compress.yarn = true, m.rope_compress.factor = 0;
       }},
      {"compress_rates.compressed_sparse_attention",
       [](auto& m) {
         m.layer_types = {kCsa, kHca}, m.compress_rate_csa = 1;
       }},
      {"compress_rates.heavily_compressed_attention",
       [](auto& m) {
         m.layer_types = {kCsa, kHca}, m.compress_rate_hca = 0;
       }},
      {"index_n_heads",
       [](auto& m) {
         m.layer_types = {kCsa, kCsa}, m.index_n_heads = 0;
       }},
      {"index_topk",
       [](auto& m) {
         m.layer_types = {kCsa, kCsa}, m.index_topk = 0;
       }},
      {"index_head_dim",
       [](auto& m) {
         m.layer_types = {kCsa, kCsa}, m.index_head_dim = 30;
       }},
      {"hc_mult", [](auto& m) { m.hc_mult = 0; }},
      {"hc_mult", [](auto& m) { m.hc_mult = 9; }},
      {"hc_sinkhorn_iters", [](auto& m) { m.hc_sinkhorn_iters = 0; }},
      {"hc_eps", [](auto& m) { m.hc_eps = -1e-6; }},
      {"n_routed_experts", [](auto& m) { m.n_routed_experts = 0, m.num_experts_per_tok = 0; }},
      {"n_shared_experts", [](auto& m) { m.n_shared_experts = 2; }},
      {"num_experts_per_tok", [](auto& m) { m.num_experts_per_tok = 17; }},
      {"num_experts_per_tok", [](auto& m) { m.num_experts_per_tok = 0; }},
      {"moe_intermediate_size", [](auto& m) { m.moe_intermediate_size = 0; }},
      {"intermediate_size", [](auto& m) { m.intermediate_size = -1; }},
      {"routed_scaling_factor", [](auto& m) { m.routed_scaling_factor = 0; }},
      {"swiglu_limit", [](auto& m) { m.swiglu_limit = kInf; }},
      {"num_nextn_predict_layers", [](auto& m) { m.num_nextn_predict_layers = 2; }},
      {"bos_token_id", [](auto& m) { m.bos_token_id = -1; }},
      {"eos_token_id", [](auto& m) { m.eos_token_id = m.vocab_size; }},
      {"init.std", [](auto& m) { m.init.std = -0.1; }},
      {"init.hc_res_diagonal", [](auto& m) { m.init.hc_res_diagonal = kInf; }},
  };
  return kCases;
}

TEST(ModelConfig, NamesEveryImpossibleKey) {
  for (std::size_t i = 0; i < bad_models().size(); ++i) {
    SCOPED_TRACE(concat("case ", i));
    ModelConfig m = two_layers();
    bad_models()[i].spoil(m);
    const std::vector<ModelProblem> problems = m.complete();
    ASSERT_FALSE(problems.empty()) << bad_models()[i].key;
    EXPECT_EQ(problems.front().key, bad_models()[i].key) << problems.front().what;
    const bool spoils_another =  // no experts leave none to choose
        problems.front().key == "n_routed_experts" || problems.front().key == "vocab_size";
    if (!spoils_another) {
      EXPECT_EQ(problems.size(), 1U) << problems.back().key;
    }
  }
}

TEST(ModelConfig, TakesTheSmallestThatTheFormulasAllow) {
  ModelConfig m = two_layers();
  m.layer_types = {AttentionKind::kCompressedSparse, AttentionKind::kHeavilyCompressed};
  m.compress_rate_csa = m.compress_rate_hca = 2;
  m.hc_eps = 0;
  EXPECT_TRUE(m.complete().empty());
}

// What no layer reads may be anything.
TEST(ModelConfig, ChecksCompressionWhereALayerHasIt) {
  ModelConfig m = two_layers();
  m.layer_types = {AttentionKind::kFull, AttentionKind::kSliding};
  m.compress_rate_csa = m.compress_rate_hca = m.index_topk = 0;
  m.index_head_dim = 3;
  m.rope_compress.theta = 0;
  EXPECT_TRUE(m.complete().empty());
  m.layer_types[0] = AttentionKind::kHeavilyCompressed;
  m.rope_compress.theta = 10;
  m.compress_rate_hca = 2;
  EXPECT_TRUE(m.complete().empty());
  m.layer_types[0] = AttentionKind::kCompressedSparse;
  EXPECT_EQ(m.complete().size(), 3U);
  m.compress_rate_csa = 2;
  m.index_topk = 1;
  m.index_head_dim = m.qk_rope_head_dim;
  EXPECT_TRUE(m.complete().empty());
  EXPECT_EQ(m.compress_rate(AttentionKind::kCompressedSparse), 2);
  EXPECT_EQ(m.compress_rate(AttentionKind::kHeavilyCompressed), 2);
  EXPECT_EQ(m.compress_rate(AttentionKind::kFull), 0);
  EXPECT_EQ(m.compress_rate(AttentionKind::kSliding), 0);
}

TEST(ModelConfig, SaysAllAtOnce) {
  ModelConfig m = two_layers();
  m.o_groups = 3;
  m.qk_rope_head_dim = 7;
  m.num_experts_per_tok = 20;
  try {
    m.finish("a.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kUsage);
    EXPECT_STREQ(error.what(),
                 "a.json: qk_rope_head_dim: 7 is odd, and rotary dimensions come in pairs; use an "
                 "even number\n"
                 "a.json: o_groups: 3 does not divide num_attention_heads 4; use a divisor of it\n"
                 "a.json: num_experts_per_tok: 20 chosen of n_routed_experts 16; use at most "
                 "n_routed_experts");
  }
}

TEST(ModelConfig, SurvivesTheWorstNumbers) {
  for (const std::int64_t worst :
       {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()}) {
    ModelConfig m;
    for (std::int64_t* size :
         {&m.vocab_size, &m.hidden_size, &m.num_hidden_layers, &m.num_attention_heads, &m.head_dim,
          &m.qk_rope_head_dim, &m.o_groups, &m.hc_mult, &m.n_routed_experts, &m.num_experts_per_tok,
          &m.num_nextn_predict_layers, &m.bos_token_id}) {
      *size = worst;
    }
    EXPECT_GE(m.complete().size(), 8U);
  }
}

TEST(ModelConfig, RefusesMoreParametersThanAnyoneMeans) {
  ModelConfig m = two_layers();
  m.hidden_size = 1 << 20;
  m.vocab_size = 1 << 20;
  EXPECT_THAT(m.complete().at(0).what, HasSubstr("parameters"));
  m.hidden_size = 1 << 10;
  EXPECT_TRUE(m.complete().empty());
}

TEST(ModelConfig, KindsHaveTheirPublishedNames) {
  EXPECT_STREQ(name_of(AttentionKind::kSliding), "sliding_attention");
  EXPECT_STREQ(name_of(AttentionKind::kCompressedSparse), "compressed_sparse_attention");
  EXPECT_STREQ(name_of(AttentionKind::kHeavilyCompressed), "heavily_compressed_attention");
  EXPECT_STREQ(name_of(AttentionKind::kFull), "full_attention");
  EXPECT_STREQ(name_of(FeedForwardKind::kHashMoe), "hash_moe");
  EXPECT_STREQ(name_of(IndexerMode::kDense), "dense");
  EXPECT_STREQ(name_of(IndexerMode::kWarmup), "warmup");
  EXPECT_STREQ(name_of(IndexerMode::kSparse), "sparse");
  EXPECT_STREQ(name_of(ResidualKind::kManifold), "mhc");
  EXPECT_STREQ(name_of(RouterScore::kSqrtSoftplus), "sqrtsoftplus");
}

TEST(ModelConfig, DenseLayersAreAsWideAsATokensExperts) {
  ModelConfig m;
  m.mlp_layer_types = {FeedForwardKind::kDense, FeedForwardKind::kMoe};
  m.num_hidden_layers = 2;
  m.num_experts_per_tok = 3;
  m.moe_intermediate_size = 20;
  ModelConfig given = m, none = m;
  m.finish("test");
  EXPECT_EQ(m.intermediate_size, 80);  // three routed and the shared one
  given.intermediate_size = 7;
  given.finish("test");
  EXPECT_EQ(given.intermediate_size, 7);
  none.mlp_layer_types[0] = FeedForwardKind::kMoe;
  none.finish("test");
  EXPECT_EQ(none.intermediate_size, 0);
}

}  // namespace
}  // namespace shoal

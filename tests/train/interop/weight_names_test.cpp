#include "train/interop/weight_names.h"

#include <gmock/gmock.h>

#include "autograd/base/check.h"

namespace shoal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Shape = std::vector<std::int64_t>;

std::string published(const std::string& stored) {
  const auto parts = published_parts(stored, {3, 4}, "f");
  EXPECT_EQ(parts.size(), 1U);
  EXPECT_EQ(parts[0].shape, (Shape{3, 4}));
  EXPECT_EQ(parts[0].first, 0);
  return parts[0].name;
}

// As transformers 5.23.0 wrote them: by itself, and with save_original_format=False.
TEST(WeightNames, OfTransformersBecomePublishedOnes) {
  const std::string in = "model.layers.12.", out = "layers.12.";
  const std::pair<const char*, const char*> of_layer[] = {
      {"self_attn.q_a_proj.weight", "attn.wq_a.weight"},
      {"self_attn.q_a_norm.weight", "attn.q_norm.weight"},
      {"self_attn.q_b_proj.weight", "attn.wq_b.weight"},
      {"self_attn.kv_proj.weight", "attn.wkv.weight"},
      {"self_attn.kv_norm.weight", "attn.kv_norm.weight"},
      {"self_attn.o_a_proj.weight", "attn.wo_a.weight"},
      {"self_attn.o_b_proj.weight", "attn.wo_b.weight"},
      {"self_attn.sinks", "attn.attn_sink"},
      {"self_attn.compressor.kv_proj.weight", "attn.compressor.wkv.weight"},
      {"self_attn.compressor.gate_proj.weight", "attn.compressor.wgate.weight"},
      {"self_attn.compressor.kv_norm.weight", "attn.compressor.norm.weight"},
      {"self_attn.compressor.position_bias", "attn.compressor.ape"},
      {"self_attn.compressor.indexer.q_b_proj.weight", "attn.indexer.wq_b.weight"},
      {"self_attn.compressor.indexer.scorer.weights_proj.weight",
       "attn.indexer.weights_proj.weight"},
      {"self_attn.compressor.indexer.kv_proj.weight", "attn.indexer.compressor.wkv.weight"},
      {"self_attn.compressor.indexer.gate_proj.weight", "attn.indexer.compressor.wgate.weight"},
      {"self_attn.compressor.indexer.kv_norm.weight", "attn.indexer.compressor.norm.weight"},
      {"self_attn.compressor.indexer.position_bias", "attn.indexer.compressor.ape"},
      {"mlp.gate.weight", "ffn.gate.weight"},
      {"mlp.gate.e_score_correction_bias", "ffn.gate.bias"},
      {"mlp.gate.tid2eid", "ffn.gate.tid2eid"},
      {"mlp.shared_experts.gate_proj.weight", "ffn.shared_experts.w1.weight"},
      {"mlp.shared_experts.down_proj.weight", "ffn.shared_experts.w2.weight"},
      {"mlp.shared_experts.up_proj.weight", "ffn.shared_experts.w3.weight"},
      {"input_layernorm.weight", "attn_norm.weight"},
      {"post_attention_layernorm.weight", "ffn_norm.weight"},
      {"attn_hc.fn", "hc_attn_fn"},
      {"attn_hc.base", "hc_attn_base"},
      {"attn_hc.scale", "hc_attn_scale"},
      {"ffn_hc.fn", "hc_ffn_fn"},
      {"ffn_hc.base", "hc_ffn_base"},
      {"ffn_hc.scale", "hc_ffn_scale"},
      // What save_pretrained makes of them by itself.
      {"attn.norm.weight", "attn.kv_norm.weight"},
      {"attn.compressor.norm.weight", "attn.compressor.norm.weight"},
      {"attn.indexer.compressor.norm.weight", "attn.indexer.compressor.norm.weight"},
      {"attn.indexer.weights_proj.weight", "attn.indexer.weights_proj.weight"},
      {"ffn.experts.4.w1.weight", "ffn.experts.4.w1.weight"},
  };
  for (const auto& [theirs, ours] : of_layer) EXPECT_EQ(published(in + theirs), out + ours);
  EXPECT_EQ(published("model.embed_tokens.weight"), "embed.weight");
  EXPECT_EQ(published("model.norm.weight"), "norm.weight");
  EXPECT_EQ(published("model.hc_head.hc_fn"), "hc_head_fn");
  EXPECT_EQ(published("model.hc_head.hc_base"), "hc_head_base");
  EXPECT_EQ(published("model.hc_head.hc_scale"), "hc_head_scale");
  EXPECT_EQ(published("lm_head.weight"), "head.weight");
}

TEST(WeightNames, PublishedAndUnknownOnesStayAsTheyAre) {
  for (const char* name :
       {"embed.weight", "head.weight", "norm.weight", "hc_head_fn", "layers.0.attn.wq_a.weight",
        "layers.10.attn.kv_norm.weight", "mtp.0.attn.kv_norm.weight", "mtp.0.norm.weight",
        "layers.0.ffn.experts.12.w3.weight", "", "layers.", "layers.0", "layers.0.", "lm_head.bias",
        "layers.0.mlp.experts", "vision.tower"}) {
    EXPECT_EQ(published(name), name);
  }
}

TEST(WeightNames, FusedExpertsComeApart) {
  const auto up = published_parts("model.layers.3.mlp.experts.gate_up_proj", {2, 6, 5}, "f");
  ASSERT_EQ(up.size(), 4U);
  const char* names[] = {"layers.3.ffn.experts.0.w1.weight", "layers.3.ffn.experts.0.w3.weight",
                         "layers.3.ffn.experts.1.w1.weight", "layers.3.ffn.experts.1.w3.weight"};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(up[i].name, names[i]);
    EXPECT_THAT(up[i].shape, ElementsAre(3, 5));
    EXPECT_EQ(up[i].first, static_cast<std::int64_t>(15 * i));
  }
  const auto down = published_parts("layers.0.mlp.experts.down_proj", {2, 5, 3}, "f");
  ASSERT_EQ(down.size(), 2U);
  EXPECT_EQ(down[1].name, "layers.0.ffn.experts.1.w2.weight");
  EXPECT_THAT(down[1].shape, ElementsAre(5, 3));
  EXPECT_EQ(down[1].first, 15);
}

TEST(WeightNames, ExpertsOfAnotherShapeAreRefused) {
  const auto says = [](const char* name, const Shape& shape) {
    try {
      published_parts(name, shape, "file");
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kData);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(says("model.layers.0.mlp.experts.gate_up_proj", {2, 5, 4}),
            "file: tensor \"model.layers.0.mlp.experts.gate_up_proj\" is [2, 5, 4]; expected "
            "[experts, 2 x their width, hidden_size]");
  EXPECT_THAT(says("model.layers.0.mlp.experts.down_proj", {2, 5}), HasSubstr("is [2, 5]"));
  // A shape of no elements costs a file no bytes, and must cost us nothing either.
  EXPECT_NE(says("model.layers.0.mlp.experts.down_proj", {1000000000000, 0, 4}), "");
}

}  // namespace
}  // namespace shoal

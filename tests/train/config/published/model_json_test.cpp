#include "train/config/published/model_json.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/train/config/config_files.h"

namespace shoal {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// As transformers writes it: every mechanism, YaRN, boilerplate.
json transformers_file() {
  return json::parse(R"({
    "architectures": ["DeepseekV4ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 0, "chunk_size_feed_forward": 0,
    "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 16},
    "compress_rope_theta": 160000.0, "dtype": null, "eos_token_id": 1, "hc_eps": 1e-06,
    "hc_mult": 4, "hc_sinkhorn_iters": 20, "head_dim": 16, "hidden_act": "silu", "hidden_size": 28,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "index_head_dim": 24, "index_n_heads": 8,
    "index_topk": 4, "initializer_range": 0.02, "is_encoder_decoder": false,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "layer_types": ["sliding_attention", "sliding_attention", "compressed_sparse_attention",
                    "heavily_compressed_attention", "compressed_sparse_attention"],
    "max_position_embeddings": 4096, "mlp_bias": false,
    "mlp_layer_types": ["hash_moe", "hash_moe", "moe", "moe", "moe"], "model_type": "deepseek_v4",
    "moe_intermediate_size": 16, "n_routed_experts": 5, "n_shared_experts": 1,
    "norm_topk_prob": true, "num_attention_heads": 4, "num_experts_per_tok": 2,
    "num_hidden_layers": 5, "num_key_value_heads": 1, "num_nextn_predict_layers": 1, "o_groups": 2,
    "o_lora_rank": 24, "output_attentions": false, "pad_token_id": null,
    "partial_rotary_factor": 0.5, "q_lora_rank": 12, "qk_rope_head_dim": 8, "return_dict": true,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {
      "compress": {"attention_factor": 1.0, "beta_fast": 32, "beta_slow": 1, "factor": 4.0,
                   "original_max_position_embeddings": 1024, "partial_rotary_factor": 0.5,
                   "rope_theta": 160000.0, "rope_type": "yarn"},
      "main": {"partial_rotary_factor": 0.5, "rope_theta": 10000.0, "rope_type": "default"}},
    "rope_theta": 10000.0, "routed_scaling_factor": 1.5, "router_aux_loss_coef": 0.001,
    "router_jitter_noise": 0.0, "scoring_func": "sqrtsoftplus", "sliding_window": 7,
    "swiglu_limit": 10.0, "tie_word_embeddings": false, "transformers_version": "5.23.0",
    "use_cache": false, "vocab_size": 41})");
}

// As DeepSeek published it, shrunk to six layers.
json published_file() {
  return json::parse(R"({
    "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
    "num_hidden_layers": 6, "hidden_size": 4096, "vocab_size": 129280, "num_attention_heads": 64,
    "num_key_value_heads": 1, "head_dim": 512, "qk_rope_head_dim": 64, "q_lora_rank": 1024,
    "o_groups": 8, "o_lora_rank": 1024, "sliding_window": 128,
    "compress_ratios": [0, 0, 4, 128, 4, 128, 0], "rope_theta": 10000,
    "compress_rope_theta": 160000,
    "rope_scaling": {"type": "yarn", "factor": 16, "original_max_position_embeddings": 65536,
                     "beta_fast": 32, "beta_slow": 1},
    "max_position_embeddings": 1048576, "index_n_heads": 64, "index_head_dim": 128,
    "index_topk": 512, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 6,
    "moe_intermediate_size": 2048, "num_hash_layers": 3, "scoring_func": "sqrtsoftplus",
    "topk_method": "noaux_tc", "norm_topk_prob": true, "routed_scaling_factor": 1.5,
    "swiglu_limit": 10.0, "hidden_act": "silu", "hc_mult": 4, "hc_sinkhorn_iters": 20,
    "hc_eps": 1e-06, "rms_norm_eps": 1e-06, "num_nextn_predict_layers": 1,
    "initializer_range": 0.02, "attention_bias": false, "attention_dropout": 0.0,
    "tie_word_embeddings": false, "use_cache": true, "bos_token_id": 0, "eos_token_id": 1,
    "torch_dtype": "bfloat16", "transformers_version": "4.57.1"})");
}

std::string problems_of_file(const json& file) {
  return error_of([&] { model_from_json(file, "config.json", nullptr); }, Failure::kData);
}

TEST(ModelJson, ReadsWhatTransformersWrites) {
  std::vector<std::string> warnings;
  const ModelConfig m = model_from_json(transformers_file(), "config.json", &warnings);
  EXPECT_THAT(warnings, ElementsAre());
  EXPECT_EQ(m.hidden_size, 28);
  EXPECT_EQ(m.layer_types.at(2), AttentionKind::kCompressedSparse);
  EXPECT_EQ(m.layer_types.at(3), AttentionKind::kHeavilyCompressed);
  EXPECT_EQ(m.mlp_layer_types.at(1), FeedForwardKind::kHashMoe);
  EXPECT_EQ(m.compress_rate_hca, 16);
  EXPECT_EQ(m.index_head_dim, 24);
  EXPECT_FALSE(m.rope_main.yarn);
  EXPECT_TRUE(m.rope_compress.yarn);
  EXPECT_EQ(m.rope_compress.factor, 4.0);
  EXPECT_EQ(m.rope_compress.original_max_position_embeddings, 1024);
  EXPECT_EQ(m.rope_compress.theta, 160000.0);
  EXPECT_EQ(m.qk_rope_head_dim, 8);
  EXPECT_EQ(m.residual, ResidualKind::kManifold);
  ModelConfig complete = m;
  complete.finish("config.json");
  EXPECT_EQ(complete, m);
}

TEST(ModelJson, ReadsWhatWasPublished) {
  std::vector<std::string> warnings;
  const ModelConfig m = model_from_json(published_file(), "config.json", &warnings);
  EXPECT_THAT(warnings, ElementsAre());
  EXPECT_THAT(m.layer_types,
              ElementsAre(AttentionKind::kSliding, AttentionKind::kSliding,
                          AttentionKind::kCompressedSparse, AttentionKind::kHeavilyCompressed,
                          AttentionKind::kCompressedSparse, AttentionKind::kHeavilyCompressed));
  EXPECT_EQ(m.mlp_layer_types.at(2), FeedForwardKind::kHashMoe);
  EXPECT_EQ(m.mlp_layer_types.at(3), FeedForwardKind::kMoe);
  EXPECT_EQ(m.compress_rate_csa, 4);
  EXPECT_EQ(m.compress_rate_hca, 128);
  EXPECT_TRUE(m.rope_compress.yarn);
  EXPECT_EQ(m.rope_compress.factor, 16.0);
  EXPECT_EQ(m.rope_compress.theta, 160000.0);
  EXPECT_EQ(m.rope_main.theta, 10000.0);
  EXPECT_FALSE(m.rope_main.yarn);
}

TEST(ModelJson, WritesWhatItReads) {
  for (const json& file : {transformers_file(), published_file()}) {
    const ModelConfig m = model_from_json(file, "a", nullptr);
    const json written = model_to_json(m);
    EXPECT_EQ(model_from_json(written, "b", nullptr), m);
    EXPECT_EQ(written.at("partial_rotary_factor").get<double>() * m.head_dim, m.qk_rope_head_dim);
    EXPECT_EQ(written.at("model_type"), "deepseek_v4");
    EXPECT_EQ(written.at("/rope_parameters/compress/attention_factor"_json_pointer), 1.0);
    EXPECT_FALSE(written.at("rope_parameters").at("main").contains("factor"));
    for (const char* ours : {"residual", "intermediate_size", "init"}) {
      EXPECT_FALSE(written.contains(ours)) << ours;
    }
  }
  // Every key of the file that has a meaning comes back with the same value.
  const json file = transformers_file(),
             written = model_to_json(model_from_json(file, "a", nullptr));
  for (const auto& [name, value] : written.items()) {
    if (file.contains(name)) {
      EXPECT_EQ(value, file.at(name)) << name;
    }
  }
}

TEST(ModelJson, WritesWhatOnlyThisProjectKnows) {
  ModelConfig m;
  m.num_hidden_layers = 2;
  m.residual = ResidualKind::kPlain;
  m.mlp_layer_types = {FeedForwardKind::kMoe, FeedForwardKind::kDense};
  m.intermediate_size = 96;
  m.swiglu_limit = 0.0;
  m.init.std = 0.5;
  m.compress_rate_hca = 16;
  m.finish("m");
  const json written = model_to_json(m);
  EXPECT_GE(written.at("swiglu_limit").get<double>(), 1e30);  // 0 would clamp everything there
  EXPECT_EQ(model_from_json(written, "b", nullptr), m);
}

// As in transformers: the newer key wins where a file has both.
TEST(ModelJson, NewerKeysWin) {
  json file = transformers_file();
  file["compress_ratios"] = json::array({0, 0, 0, 0, 0});
  file["num_hash_layers"] = 0;
  EXPECT_EQ(model_from_json(file, "a", nullptr),
            model_from_json(transformers_file(), "b", nullptr));
}

TEST(ModelJson, UnknownKeysAreOneWarning) {
  json file = transformers_file();
  file["flux"] = 1;
  file["rope_parameters"]["main"]["twist"] = 2;
  std::vector<std::string> warnings;
  model_from_json(file, "config.json", &warnings);
  EXPECT_THAT(warnings, ElementsAre("config.json: ignored keys that are not known here: flux, "
                                    "rope_parameters.main.twist"));
}

// Formats that would be trained in float32 without a word.
TEST(ModelJson, WhatCannotBeHonouredIsNamed) {
  json file = published_file();
  file["expert_dtype"] = "fp8";
  file["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}};
  const std::string said = problems_of_file(file);
  EXPECT_THAT(said, HasSubstr("config.json: expert_dtype: 'fp8' cannot be honoured"));
  EXPECT_THAT(said,
              HasSubstr("config.json: quantization_config: quantized weights cannot be read"));
  file["expert_dtype"] = "bfloat16";  // how weights are stored
  file["quantization_config"] = nullptr;
  file["fp4"] = {{"experts", "off"}, {"indexer", "off"}};
  std::vector<std::string> warnings;
  EXPECT_EQ(model_from_json(file, "config.json", &warnings),
            model_from_json(published_file(), "config.json", nullptr));
  EXPECT_THAT(warnings, ElementsAre());
  // Packed experts can be read, and rounding is a setting; both ways.
  file["expert_dtype"] = "fp4";
  file["fp4"] = {{"experts", "qat"}, {"indexer", "qat"}};
  ModelConfig model = model_from_json(file, "config.json", &warnings);
  EXPECT_THAT(warnings, ElementsAre());
  EXPECT_EQ(model.fp4, (Fp4Config{Quantization::kQat, Quantization::kQat, 0}));
  model.finish("config.json");
  EXPECT_EQ(model_to_json(model).at("fp4"), (json{{"experts", "qat"}, {"indexer", "qat"}}));
  EXPECT_EQ(model_to_json(model).at("model_type"), "shoal");
}

TEST(ModelJson, SaysAllThatIsWrongAtOnce) {
  json file = transformers_file();
  file["hidden_size"] = "28";
  file["head_dim"] = -3;
  file["norm_topk_prob"] = 1;
  file["index_topk"] = 1.5;
  file["layer_types"][0] = "triangles";
  EXPECT_EQ(problems_of_file(file),
            "config.json: head_dim: -3 is out of range; give a whole number from 1 to 2147483647\n"
            "config.json: hidden_size: '28' is text; remove the quotes\n"
            "config.json: index_topk: '1.5' is not a whole number; give a whole number from 1 to "
            "2147483647\n"
            "config.json: layer_types: 'triangles' is not known; use one of "
            "window, csa, hca, full, sliding_attention, compressed_sparse_attention, "
            "heavily_compressed_attention, "
            "full_attention\n"
            "config.json: norm_topk_prob: '1' is not true or false; write true");
}

TEST(ModelJson, OtherModelsAreRefused) {
  const auto with = [](const char* name, const json& value) {
    json file = transformers_file();
    file[name] = value;
    return problems_of_file(file);
  };
  EXPECT_EQ(with("model_type", "llama"),
            "config.json: model_type: \"llama\" is not supported; only \"deepseek_v4\" is");
  EXPECT_THAT(with("attention_bias", true), HasSubstr("attention_bias: true is not supported"));
  EXPECT_THAT(with("tie_word_embeddings", true), HasSubstr("tie_word_embeddings"));
  EXPECT_THAT(with("hidden_act", "gelu"), HasSubstr("hidden_act"));
  EXPECT_THAT(with("num_key_value_heads", 2), HasSubstr("num_key_value_heads"));
  EXPECT_THAT(with("qk_rope_head_dim", 4), HasSubstr("contradicts partial_rotary_factor"));
  json yarn = transformers_file();
  yarn["rope_parameters"]["compress"]["attention_factor"] = 1.277;
  EXPECT_THAT(problems_of_file(yarn),
              HasSubstr("rope_parameters.compress.attention_factor: 1.277"));
}

TEST(ModelJson, SizesMustBeThere) {
  for (const char* name : {"vocab_size", "head_dim", "layer_types", "mlp_layer_types",
                           "sliding_window", "index_topk", "compress_rates"}) {
    json file = transformers_file();
    file.erase(name);
    EXPECT_THAT(problems_of_file(file), HasSubstr(std::string("config.json: ") + name)) << name;
  }
  json share = transformers_file();
  share.erase("qk_rope_head_dim");
  EXPECT_EQ(model_from_json(share, "a", nullptr).qk_rope_head_dim, 8);
  share.erase("partial_rotary_factor");  // rope_parameters has it too
  EXPECT_EQ(model_from_json(share, "a", nullptr).qk_rope_head_dim, 8);
}

TEST(ModelJson, StrangeFilesAreRefused) {
  EXPECT_EQ(problems_of_file(json::array()),
            "config.json: not a JSON object; a config.json is one");
  EXPECT_NE(problems_of_file(json::object()), "");
  json deep = transformers_file(), nest = 1;
  for (int i = 0; i < 40; ++i) nest = json{{"a", nest}};
  deep["x"] = nest;
  EXPECT_THAT(problems_of_file(deep), HasSubstr("nested deeper than 16"));
  const json whole = transformers_file();
  for (const auto& [name, value] : whole.items()) {
    for (const json& odd : {json(nullptr), json::array({1}), json::object(), json("x"), json(-1),
                            json(1e300), json(true), json(18446744073709551615U)}) {
      json file = transformers_file();
      file[name] = odd;
      problems_of_file(file);  // an Error of the right kind, or none
    }
  }
  json ratios = published_file();
  ratios["compress_ratios"] = json::array({0, 4});
  EXPECT_THAT(problems_of_file(ratios), HasSubstr("compress_ratios"));
  ratios["compress_ratios"] = json::array({0, 0, 4, 16, 4, 128, 0});
  EXPECT_THAT(problems_of_file(ratios),
              HasSubstr("'128' (layer 5) is not known; use 0 for a window layer, 4 for CSA, 16"));
  ratios["num_hidden_layers"] = 9000000000000000000;
  EXPECT_NE(problems_of_file(ratios), "");
}

}  // namespace
}  // namespace shoal

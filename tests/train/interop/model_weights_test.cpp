#include "train/interop/model_weights.h"

#include <gmock/gmock.h>

#include <cstring>
#include <deque>
#include <filesystem>
#include <functional>

#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"
#include "train/interop/export_model.h"
#include "train/interop/load_weights.h"
#include "train/interop/weight_index.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::random_model;
using testing::tiny_config;

// Tensors to be changed and written; the bytes lie in the list's own memory.
class TensorList {
 public:
  explicit TensorList(const std::string& folder) {
    const ModelWeights from = ModelWeights::open(folder);
    for (const SafetensorsFile& file : from.files()) {
      for (const auto& [name, info] : file.tensors()) {
        add(name, info.dtype, info.shape, file.read_bytes(name));
      }
    }
  }
  void add(const std::string& name, const std::string& dtype, std::vector<std::int64_t> shape,
           std::vector<std::byte> bytes) {
    bytes_.push_back(std::move(bytes));
    tensors_.push_back({name, dtype, std::move(shape), bytes_.back().data()});
  }
  TensorToWrite& at(const std::string& name) {
    for (TensorToWrite& t : tensors_) {
      if (t.name == name) return t;
    }
    ADD_FAILURE() << name;
    return tensors_.front();
  }
  void remove(const std::string& name) {
    std::erase_if(tensors_, [&](const TensorToWrite& t) { return t.name == name; });
  }
  std::vector<TensorToWrite>& tensors() { return tensors_; }
  void write(const std::string& path) const { write_safetensors(path, tensors_); }

 private:
  std::deque<std::vector<std::byte>> bytes_;
  std::vector<TensorToWrite> tensors_;
};

// Layers of every kind.
ModelConfig hybrid_config() {
  ModelConfig c = tiny_config();
  c.layer_types = {AttentionKind::kSliding, AttentionKind::kCompressedSparse,
                   AttentionKind::kHeavilyCompressed};
  c.mlp_layer_types = {FeedForwardKind::kHashMoe, FeedForwardKind::kMoe, FeedForwardKind::kMoe};
  c.compress_rate_hca = 8;
  c.index_n_heads = 2;
  c.index_head_dim = 8;
  return c;
}

class Weights : public ::testing::Test {
 protected:
  Weights() : model_(random_model(hybrid_config())), want_(values(*model_)) {
    export_model(*model_, dir_ / "whole", false);
  }
  static std::vector<float> values(Model& model) {
    std::vector<float> all(model.store().values().begin(), model.store().values().end());
    for (const ModelBuffer& b : model.store().buffers()) {
      const auto n = static_cast<std::size_t>(b.value.shape.numel());
      const std::size_t at = all.size();
      all.resize(at + n);
      std::memcpy(&all[at], b.value.data, 4 * n);
    }
    return all;
  }
  // Does the folder give this model, bit for bit?
  void expect_same(const std::string& folder) {
    const auto loaded = random_model(hybrid_config(), 2);
    EXPECT_NE(values(*loaded), want_);
    load_weights(*loaded, ModelWeights::open(folder));
    const std::vector<float> got = values(*loaded);
    ASSERT_EQ(got.size(), want_.size());
    EXPECT_EQ(std::memcmp(got.data(), want_.data(), 4 * got.size()), 0) << folder;
  }
  // What loading says; the model has to stay as it was.
  static std::string refused(const std::string& folder) {
    const auto model = random_model(hybrid_config(), 3);
    const std::vector<float> before = values(*model);
    try {
      load_weights(*model, ModelWeights::open(folder));
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kData);
      EXPECT_EQ(values(*model), before);
      return error.what();
    }
    return "";
  }
  // The same with one file that `change` made of the sound one.
  std::string refused(const std::function<void(TensorList&)>& change) {
    TensorList list(dir_ / "whole");
    change(list);
    fs::create_directories(dir_ / "changed");
    list.write(dir_ / "changed/model.safetensors");
    return refused(dir_ / "changed");
  }
  std::string shards() {
    if (!fs::exists(dir_ / "shards")) export_model(*model_, dir_ / "shards", false, 9000);
    return dir_ / "shards";
  }

  TemporaryFolder dir_;
  std::unique_ptr<Model> model_;
  std::vector<float> want_;
};

TEST_F(Weights, OneFileShardsAndShardsWithoutAnIndexGiveTheSame) {
  expect_same(dir_ / "whole");
  EXPECT_TRUE(fs::exists(shards() + "/" + kIndexName));
  EXPECT_GE(ModelWeights::open(shards()).files().size(), 3U);
  expect_same(shards());
  fs::remove(shards() + "/" + kIndexName);
  EXPECT_TRUE(ModelWeights::lie_in(shards()));
  expect_same(shards());
  EXPECT_FALSE(ModelWeights::lie_in(dir_.path()));
}

// The names of transformers' modules and their fused experts, made here from the published ones.
TEST_F(Weights, TransformersOwnNamesGiveTheSame) {
  const ModelConfig c = model_->config();
  TensorList list(dir_ / "whole");
  const std::pair<const char*, const char*> words[] = {
      {".attn_norm.", ".input_layernorm."},
      {".ffn_norm.", ".post_attention_layernorm."},
      {".hc_attn_", ".attn_hc."},
      {".hc_ffn_", ".ffn_hc."},
      {".indexer.weights_proj.", ".compressor.indexer.scorer.weights_proj."},
      {".indexer.wq_b.", ".compressor.indexer.wq_b."},
      {".indexer.compressor.", ".compressor.indexer."},
      {".compressor.norm.", ".compressor.kv_norm."},
      {".indexer.norm.", ".indexer.kv_norm."},
      {".wgate.", ".gate_proj."},
      {".ape", ".position_bias"},
      {".attn.", ".self_attn."},
      {".ffn.", ".mlp."},
      {".wq_a.", ".q_a_proj."},
      {".wq_b.", ".q_b_proj."},
      {".wkv.", ".kv_proj."},
      {".wo_a.", ".o_a_proj."},
      {".wo_b.", ".o_b_proj."},
      {".q_norm.", ".q_a_norm."},
      {".attn_sink", ".sinks"},
      {".gate.bias", ".gate.e_score_correction_bias"},
      {".shared_experts.w1", ".shared_experts.gate_proj"},
      {".shared_experts.w2", ".shared_experts.down_proj"},
      {".shared_experts.w3", ".shared_experts.up_proj"},
  };
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) {
    std::vector<std::byte> up, down;
    for (std::int64_t e = 0; e < c.n_routed_experts; ++e) {
      for (const char* w : {"w1", "w3", "w2"}) {
        const std::string name = concat("layers.", l, ".ffn.experts.", e, '.', w, ".weight");
        const auto* data = static_cast<const std::byte*>(list.at(name).data);
        auto& to = w[1] == '2' ? down : up;
        to.insert(to.end(), data, data + 4 * c.hidden_size * c.moe_intermediate_size);
        list.remove(name);
      }
    }
    const std::string in = concat("model.layers.", l, ".mlp.experts.");
    const std::int64_t E = c.n_routed_experts, F = c.moe_intermediate_size, C = c.hidden_size;
    list.add(in + "gate_up_proj", "F32", {E, 2 * F, C}, std::move(up));
    list.add(in + "down_proj", "F32", {E, C, F}, std::move(down));
  }
  for (TensorToWrite& t : list.tensors()) {
    if (t.name.starts_with("mtp.") || t.name.starts_with("model.")) continue;
    for (const auto& [ours, theirs] : words) {
      const std::size_t at = t.name.find(ours);
      if (at != std::string::npos) t.name.replace(at, std::strlen(ours), theirs);
    }
    if (t.name.starts_with("hc_head_")) t.name = "hc_head.hc_" + t.name.substr(8);
    if (t.name == "embed.weight") t.name = "embed_tokens.weight";
    t.name = t.name == "head.weight" ? "lm_head.weight" : "model." + t.name;
  }
  fs::create_directories(dir_ / "theirs");
  list.write(dir_ / "theirs/model.safetensors");
  expect_same(dir_ / "theirs");
}

TEST_F(Weights, HalfPrecisionWidens) {
  TensorList list(dir_ / "whole");
  const std::vector<std::uint16_t> bf16 = {0x3f80, 0xc000, 0x0001};  // 1, -2, 2^-133
  const std::vector<std::uint16_t> f16 = {0x3c00, 0xc000, 0x0001};   // 1, -2, 2^-24
  TensorToWrite& base = list.at("hc_head_base");
  TensorToWrite& scale = list.at("layers.0.hc_attn_scale");
  base = {base.name, "BF16", base.shape, bf16.data()};
  scale = {scale.name, "F16", scale.shape, f16.data()};
  list.write(dir_ / "whole/model.safetensors");
  load_weights(*model_, ModelWeights::open(dir_ / "whole"));
  model_->store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
    const float* v = p.value.as<float>() + piece.offset;
    if (piece.name == "hc_head_base") {
      EXPECT_EQ(std::vector(v, v + 3), (std::vector{1.0F, -2.0F, 0x1p-133F}));
    } else if (piece.name == "layers.0.hc_attn_scale") {
      EXPECT_EQ(std::vector(v, v + 3), (std::vector{1.0F, -2.0F, 0x1p-24F}));
    }
  });
}

TEST_F(Weights, QuantizedOnesAreRefusedByName) {
  for (const char* dtype : {"F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "F4"}) {
    const std::vector<std::byte> bytes(16);
    const std::string said = refused([&](TensorList& list) {
      TensorToWrite& t = list.at("layers.1.attn.wq_a.weight");
      t = {t.name, dtype, {2, 8}, bytes.data()};
      // Scales lie beside quantized weights: the first complaint is about the reason.
      list.add("layers.1.attn.wq_a.scale", "F32", {1}, std::vector<std::byte>(4));
    });
    EXPECT_THAT(said, HasSubstr("changed/model.safetensors: tensor \"layers.1.attn.wq_a.weight\""));
    EXPECT_THAT(said, HasSubstr(std::string("has dtype ") + dtype));
    EXPECT_THAT(said, HasSubstr("expected F32, BF16 or F16"));
  }
}

TEST_F(Weights, WhatDoesNotFitIsNamed) {
  const std::string file = dir_ / "changed/model.safetensors";
  EXPECT_THAT(refused([](TensorList& l) { l.remove("layers.1.attn.wkv.weight"); }),
              HasSubstr("tensor \"layers.1.attn.wkv.weight\": missing; expected [11, 19]"));
  EXPECT_THAT(refused([](TensorList& l) { l.at("norm.weight").name = "norm.wait"; }),
              HasSubstr(file + ": tensor \"norm.wait\": the model has no such tensor"));
  EXPECT_THAT(refused([](TensorList& l) {
                l.at("norm.weight").shape = {1, 19};
              }),
              HasSubstr(file + ": tensor \"norm.weight\" is [1, 19]; expected [19]"));
  EXPECT_THAT(refused([](TensorList& l) { l.at("norm.weight").dtype = "I32"; }),
              HasSubstr("tensor \"norm.weight\" has dtype I32; expected F32, BF16 or F16"));
  const std::vector<std::byte> floats(4 * 46);
  EXPECT_THAT(refused([&](TensorList& l) {
                TensorToWrite& t = l.at("layers.0.ffn.gate.tid2eid");
                t = {t.name, "F32", t.shape, floats.data()};
              }),
              HasSubstr("\"layers.0.ffn.gate.tid2eid\" has dtype F32; expected I64 or I32"));
  const std::vector<std::int64_t> experts(46, 5);
  EXPECT_THAT(
      refused([&](TensorList& l) { l.at("layers.0.ffn.gate.tid2eid").data = experts.data(); }),
      HasSubstr("\"layers.0.ffn.gate.tid2eid\" holds expert 5; expected 0 to 4"));
  // One tensor under two names.
  EXPECT_THAT(refused([](TensorList& l) {
                l.add("model.norm.weight", "F32", {19}, std::vector<std::byte>(76));
              }),
              HasSubstr("tensor \"norm.weight\" is there twice: the other one is " + file +
                        ": tensor \"model.norm.weight\""));
  EXPECT_THAT(refused([](TensorList& l) {
                std::erase_if(l.tensors(),
                              [](const auto& t) { return t.name.starts_with("mtp."); });
              }),
              HasSubstr("model.num_nextn_predict_layers"));
}

TEST_F(Weights, BrokenFoldersAreRefused) {
  const std::string index = shards() + "/" + kIndexName, text = contents(index);
  const std::size_t count = ModelWeights::open(shards()).files().size();
  const std::string second = shard_name(2, static_cast<std::int64_t>(count));
  const std::string path = shards() + "/" + second, bytes = contents(path);
  const auto index_with = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    const std::size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos);
    write_file(index, changed.replace(at, from.size(), to));
    return refused(shards());
  };
  EXPECT_THAT(index_with(second, "../" + second), HasSubstr("expected the plain name"));
  EXPECT_THAT(index_with(second, path), HasSubstr("expected the plain name"));
  EXPECT_THAT(index_with("\"norm.weight\"", "\"norm.wait\""),
              HasSubstr("tensor \"norm.wait\" is missing; " + index + " says it is here"));
  EXPECT_THAT(
      index_with("\"embed.weight\": ", "\"embed.wait\": \"model-00001-of-" +
                                           shard_name(0, count).substr(15) + "\", \"norm.w\": "),
      HasSubstr("is missing"));
  write_file(index, text);
  fs::remove(path);
  EXPECT_THAT(refused(shards()), HasSubstr(path + ": is missing; " + index + " says tensor"));
  fs::remove(index);
  EXPECT_THAT(refused(shards()), HasSubstr(path + ": is missing; its name is one of"));
  write_file(path, bytes.substr(0, bytes.size() - 1));
  EXPECT_THAT(refused(shards()), HasSubstr(path));
  write_file(path, std::string(8, '\xff') + bytes.substr(8));
  EXPECT_THAT(refused(shards()), HasSubstr(path + ": its header should have"));
  write_file(path, bytes);
  expect_same(shards());
  fs::copy(path, shards() + "/model-00001-of-00099.safetensors");
  EXPECT_THAT(refused(shards()), HasSubstr("has shards of"));
  fs::remove(shards() + "/model-00001-of-00099.safetensors");
  fs::copy(dir_ / "whole/model.safetensors", shards() + "/model.safetensors");
  write_file(index, text);
  EXPECT_THAT(refused(shards()), HasSubstr("remove the one that is not meant"));
  fs::create_directories(dir_ / "empty");
  EXPECT_THAT(refused(dir_ / "empty"), HasSubstr("holds no weights; expected model.safetensors"));
}

// A tensor that a second shard has as well, with the index and without.
TEST_F(Weights, ATensorInTwoShardsIsRefused) {
  TensorList list(dir_ / "whole");
  fs::create_directories(dir_ / "two");
  const std::string a = dir_ / "two/model-00001-of-00002.safetensors";
  const std::string b = dir_ / "two/model-00002-of-00002.safetensors";
  WeightIndex index;
  for (const TensorToWrite& t : list.tensors()) index.file_of[t.name] = shard_name(1, 2);
  index.file_of["head.weight"] = shard_name(2, 2);
  write_safetensors(b, {list.at("head.weight"), list.at("norm.weight")});
  list.remove("head.weight");
  list.write(a);
  write_file(dir_ / "two/model.safetensors.index.json", weight_index_text(index));
  EXPECT_THAT(refused(dir_ / "two"), HasSubstr(b + ": tensor \"norm.weight\" is also in " +
                                               shard_name(1, 2) + "; expected in one file"));
  index.file_of.erase("norm.weight");
  write_file(dir_ / "two/model.safetensors.index.json", weight_index_text(index));
  EXPECT_THAT(refused(dir_ / "two"), HasSubstr("tensor \"norm.weight\" is not in"));
  fs::remove(dir_ / "two/model.safetensors.index.json");
  EXPECT_THAT(refused(dir_ / "two"), HasSubstr("tensor \"norm.weight\" is there twice"));
}

}  // namespace
}  // namespace shoal

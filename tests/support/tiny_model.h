#pragma once
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "autograd/base/rng.h"
#include "layers/model.h"

namespace shoal::testing {

// Two window layers, hash and learned routing, mHC and MTP; no width is a multiple of another.
inline ModelConfig tiny_config() {
  ModelConfig c;
  c.vocab_size = 23;
  c.hidden_size = 19;
  c.layer_types = {AttentionKind::kSliding, AttentionKind::kSliding};
  c.mlp_layer_types = {FeedForwardKind::kHashMoe, FeedForwardKind::kMoe};
  c.num_attention_heads = 6;
  c.head_dim = 11;
  c.qk_rope_head_dim = 6;
  c.q_lora_rank = 13;
  c.o_groups = 3;
  c.o_lora_rank = 7;
  c.sliding_window = 5;
  c.hc_mult = 3;
  c.n_routed_experts = 5;
  c.num_experts_per_tok = 2;
  c.moe_intermediate_size = 9;
  c.num_nextn_predict_layers = 1;
  return c;
}

// Every kind of attention; the indexers choose 3 of up to T / 3 entries. YaRN has a ramp.
inline ModelConfig hybrid_config() {
  ModelConfig c = tiny_config();
  c.layer_types = {AttentionKind::kSliding, AttentionKind::kCompressedSparse,
                   AttentionKind::kHeavilyCompressed, AttentionKind::kFull,
                   AttentionKind::kCompressedSparse};
  c.mlp_layer_types.assign(5, FeedForwardKind::kMoe);
  c.mlp_layer_types[1] = FeedForwardKind::kHashMoe;
  c.compress_rate_csa = 3;
  c.compress_rate_hca = 4;
  c.rope_compress = {.theta = 40.0,
                     .yarn = true,
                     .factor = 3.0,
                     .original_max_position_embeddings = 30,
                     .beta_fast = 4.0,
                     .beta_slow = 1.0};
  c.index_n_heads = 3;
  c.index_head_dim = 10;
  c.index_topk = 3;
  return c;
}

// A model all of whose tensors, norms, sinks and router biases included, are random, so that
// nothing hides behind a zero or a one.
inline std::unique_ptr<Model> random_model(ModelConfig config, std::uint64_t seed = 1) {
  config.finish("tiny model");
  auto model = std::make_unique<Model>(config);
  model->allocate();
  model->initialise(seed, {});
  model->store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
    const Rng rng(seed, Purpose::kTest, hash_bytes(piece.name.data(), piece.name.size(), 1));
    const auto has = [&](const char* part) { return piece.name.find(part) != std::string::npos; };
    const bool norm = has("norm");
    const double centre = norm ? 1.0 : has("_scale") ? 0.5 : 0.0;
    const double width = norm                          ? 0.2
                         : has("_scale")               ? 0.1
                         : has("sink") || has("_base") ? 0.7
                         : has("ape")                  ? 0.6
                         : has("hc_")                  ? 0.3
                         : has("embed")                ? 1.0
                                                       : 0.35;
    for (std::int64_t i = 0; i < piece.shape.numel(); ++i) {
      p.value.as<float>()[piece.offset + i] =
          static_cast<float>(centre + width * rng.normal(static_cast<std::uint64_t>(i)));
    }
  });
  for (ModelBuffer& b : model->store().buffers()) {
    if (b.value.dtype != DType::kF32) continue;
    const Rng rng(seed, Purpose::kTest, hash_bytes(b.name.data(), b.name.size(), 1));
    for (std::int64_t i = 0; i < b.value.shape.numel(); ++i) {
      b.value.as<float>()[i] = static_cast<float>(0.2 * rng.normal(static_cast<std::uint64_t>(i)));
    }
  }
  return model;
}

// A document of `length` predictions: length + 1 tokens.
using Document = std::vector<std::int32_t>;
inline Document random_document(std::int64_t length, std::int64_t vocab, std::uint64_t seed) {
  const Rng rng(seed, Purpose::kTest, 77);
  Document tokens;
  for (std::int64_t i = 0; i <= length; ++i) {
    tokens.push_back(static_cast<std::int32_t>(
        rng.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(vocab))));
  }
  return tokens;
}

// One entry per sequence: documents one after the other, then padding up to T rows.
inline Batch pack(std::int64_t T, const std::vector<std::vector<Document>>& sequences) {
  Batch batch;
  batch.B = static_cast<std::int64_t>(sequences.size());
  batch.T = T;
  const auto put = [&](std::int32_t token, std::int32_t target, std::size_t first) {
    batch.tokens.push_back(token);
    batch.targets.push_back(target);
    batch.first.push_back(static_cast<std::int32_t>(first));
  };
  for (const std::vector<Document>& documents : sequences) {
    const std::size_t end = batch.tokens.size() + static_cast<std::size_t>(T);
    for (const Document& d : documents) {
      const std::size_t first = batch.tokens.size();
      for (std::size_t t = 0; t + 1 < d.size(); ++t) put(d[t], d[t + 1], first);
    }
    CHECK(batch.tokens.size() <= end, "documents longer than ", T);
    const std::size_t first = batch.tokens.size();
    while (batch.tokens.size() < end) put(0, -1, first);
  }
  return batch;
}

}  // namespace shoal::testing

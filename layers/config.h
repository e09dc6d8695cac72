#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "autograd/kernels/sinkhorn.h"
#include "layers/precision.h"

namespace shoal {

enum class AttentionKind { kSliding, kCompressedSparse, kHeavilyCompressed, kFull };
enum class FeedForwardKind { kMoe, kHashMoe, kDense };
enum class ResidualKind { kManifold, kHyper, kPlain };  // mhc, hc, plain
// How CSA layers attend, and what their indexers learn from (spec 3.1): all visible entries and no
// indexer; all entries while the indexer alone learns; the entries that the indexer chooses.
enum class IndexerMode { kDense, kWarmup, kSparse };
enum class RouterScore { kSqrtSoftplus, kSigmoid, kSoftmax };

// Rounded to fewer bits (spec 8): never; from some step of the training on; or not in training, and
// wherever the model is used afterwards.
enum class Quantization { kOff, kQat, kPtq };

struct Fp4Config {
  Quantization experts = Quantization::kOff;  // routed experts' weights
  Quantization indexer = Quantization::kOff;  // the indexers' queries and keys
  std::int64_t from_step = 0;                 // where qat begins: so many updates are done before

  bool operator==(const Fp4Config&) const = default;
};

// One set of rotary frequencies (spec 2.3): `main` for window layers and MTP, `compress` for CSA
// and HCA.
struct RopeConfig {
  double theta = 10000.0;
  bool yarn = false;
  double factor = 1.0;
  std::int64_t original_max_position_embeddings = 65536;
  double beta_fast = 32.0, beta_slow = 1.0;

  bool operator==(const RopeConfig&) const = default;
};

// How parameters start (spec 4.2, 10.5, 13.2).
struct InitConfig {
  double std = 0.0;        // of matrices; 0: 0.5 / sqrt(hidden_size) below width 2048, else 0.006
  double hc_std = 0.02;    // of hc_*_fn
  double hc_scale = 0.01;  // a_pre, a_post, a_res and the head's
  double hc_res_diagonal = 6.0;  // of b_res; 0 gives "all b = 0"

  bool operator==(const InitConfig&) const = default;
};

inline constexpr const char* kAllKeys = "*";

// One impossible value: the key inside `model`, and "what is wrong; what would be right".
struct ModelProblem {
  std::string key, what;
  // The key that it does not fit, where it is of two; kAllKeys: of all.
  std::string other = {};
};

// A model, in the key names of a Hugging Face config.json where it has the key (spec 1.3).
struct ModelConfig {
  std::int64_t vocab_size = 258;
  std::int64_t hidden_size = 256;
  std::int64_t num_hidden_layers = 0;  // 0: the length of layer_types
  std::vector<AttentionKind> layer_types;
  std::vector<FeedForwardKind> mlp_layer_types;  // empty: moe everywhere
  std::int64_t max_position_embeddings = 1048576;
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;  // kept for export; `init` decides

  // attention (spec 2)
  std::int64_t num_attention_heads = 4;
  std::int64_t head_dim = 64;
  std::int64_t qk_rope_head_dim = 32;
  std::int64_t q_lora_rank = 128;
  std::int64_t o_groups = 2;
  std::int64_t o_lora_rank = 128;
  std::int64_t sliding_window = 64;
  RopeConfig rope_main, rope_compress{.theta = 160000.0};
  std::int64_t compress_rate_csa = 4, compress_rate_hca = 128;
  std::int64_t index_n_heads = 4, index_head_dim = 32, index_topk = 64;
  // Tokens that one compressed entry of such a layer stands for; 0: it has no compressor.
  std::int64_t compress_rate(AttentionKind kind) const {
    if (kind == AttentionKind::kCompressedSparse) return compress_rate_csa;
    return kind == AttentionKind::kHeavilyCompressed ? compress_rate_hca : 0;
  }

  // residual streams (spec 4)
  ResidualKind residual = ResidualKind::kManifold;
  std::int64_t hc_mult = 4;
  std::int64_t hc_sinkhorn_iters = 20;
  double hc_eps = 1e-6;

  // feed-forward (spec 5)
  std::int64_t n_routed_experts = 16;
  std::int64_t n_shared_experts = 1;  // 0 or 1
  std::int64_t num_experts_per_tok = 2;
  std::int64_t moe_intermediate_size = 128;
  std::int64_t intermediate_size = 0;  // of `dense` layers; 0: what a token's experts add up to
  RouterScore scoring_func = RouterScore::kSqrtSoftplus;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 1.5;
  double swiglu_limit = 10.0;  // 0: no clamp

  // Width of a layer's experts: of each one, or of the single one of a dense layer.
  std::int64_t expert_width(FeedForwardKind kind) const {
    if (kind != FeedForwardKind::kDense) return moe_intermediate_size;
    return intermediate_size > 0 ? intermediate_size
                                 : moe_intermediate_size * (num_experts_per_tok + n_shared_experts);
  }

  std::int64_t num_nextn_predict_layers = 1;  // MTP depth, 0 or 1 (spec 6)
  std::int64_t bos_token_id = 0, eos_token_id = 1;
  InitConfig init;
  Fp4Config fp4;
  Quantization fp8_kv = Quantization::kOff;  // entries without their rotary dimensions

  // What the model is computed with when so many updates are done.
  Precision precision_at(std::int64_t done) const;

  // Fills what is derived (num_hidden_layers, empty lists, hc_mult 1 for plain streams, the width
  // of dense layers) and lists everything impossible, in the order of the members.
  std::vector<ModelProblem> complete();
  // complete(), then Error(kUsage) with one line "where: key: what is wrong; what would be right"
  // per problem. `where` is a file name or "model".
  void finish(const std::string& where);

  bool operator==(const ModelConfig&) const = default;
};

// No size of a model is larger: products of two still fit into 64 bits, indices into 32.
inline constexpr std::int64_t kMaxSize = 2147483647;
inline constexpr std::int64_t kMaxLayers = 4096;
inline constexpr std::int64_t kMaxStreams = 8;
inline constexpr std::int64_t kMaxSinkhornIters = kMaxMixingIterations;

const char* name_of(AttentionKind kind);
const char* name_of(FeedForwardKind kind);
const char* name_of(ResidualKind kind);
const char* name_of(RouterScore kind);
const char* name_of(IndexerMode mode);
const char* name_of(Quantization kind);

}  // namespace shoal

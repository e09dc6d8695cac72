#include "layers/config.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/kernels/hadamard.h"
#include "autograd/kernels/index_fp4.h"

namespace shoal {
namespace {

// Of all layers together; V4-Pro has 23,424. Each has names, which a mere number must not multiply.
constexpr std::int64_t kMaxExperts = 262144;
// 2^42 parameters are 16 TiB of float32: V4-Pro has 1.6e12, and nothing beyond that is meant.
constexpr double kMaxParameters = 4398046511104.0;

class Checker {
 public:
  template <class... Detail>
  void require(bool holds, const char* key, const Detail&... what) {
    if (!holds) problems.push_back({key, concat(what...)});
  }
  // Of a key that does not fit another one.
  template <class... Detail>
  void require_fit(bool holds, const char* key, const std::string& other, const Detail&... what) {
    if (!holds) problems.push_back({key, concat(what...), other});
  }
  void size(const char* key, std::int64_t value, std::int64_t low = 1,
            std::int64_t high = kMaxSize) {
    require(value >= low && value <= high, key, value, " is out of range; use ", low, " to ", high);
  }
  void positive(const char* key, double value) {
    require(std::isfinite(value) && value > 0, key, value,
            " is not above 0; use a positive number");
  }
  void not_negative(const char* key, double value) {
    require(std::isfinite(value) && value >= 0, key, value, " is not a number from 0 upwards");
  }

  std::vector<ModelProblem> problems;
};

bool has_kind(const ModelConfig& m, AttentionKind kind) {
  return std::find(m.layer_types.begin(), m.layer_types.end(), kind) != m.layer_types.end();
}

// num_hidden_layers and the two lists say the same thing; what is missing follows from the rest.
void derive_layers(ModelConfig& m, Checker& check) {
  if (m.num_hidden_layers == 0 && m.layer_types.empty()) {
    check.require(false, "layer_types",
                  "no layer is named; list the layers, or set num_hidden_layers for window layers");
    return;
  }
  if (m.num_hidden_layers == 0) {
    m.num_hidden_layers = static_cast<std::int64_t>(m.layer_types.size());
  }
  if (m.num_hidden_layers < 0 || m.num_hidden_layers > kMaxLayers) {
    check.size("num_hidden_layers", m.num_hidden_layers, 1, kMaxLayers);
    return;
  }
  const auto L = static_cast<std::size_t>(m.num_hidden_layers);
  if (m.layer_types.empty()) m.layer_types.assign(L, AttentionKind::kSliding);
  if (m.mlp_layer_types.empty()) m.mlp_layer_types.assign(L, FeedForwardKind::kMoe);
  check.require_fit(m.layer_types.size() == L, "layer_types", "num_hidden_layers",
                    m.layer_types.size(), " entries for num_hidden_layers ", L,
                    "; give one per layer");
  check.require_fit(m.mlp_layer_types.size() == L, "mlp_layer_types", "layer_types",
                    m.mlp_layer_types.size(), " entries for ", L, " layers; give one per layer");
}

void check_rope(const char* name, const RopeConfig& rope, Checker& check) {
  const std::string prefix = concat("rope_parameters.", name, ".");
  const auto key = [&](const char* member) { return prefix + member; };
  check.require(std::isfinite(rope.theta) && rope.theta > 1, key("rope_theta").c_str(), rope.theta,
                " is no base of frequencies; use a number above 1, such as 10000");
  if (!rope.yarn) return;
  check.require(std::isfinite(rope.factor) && rope.factor >= 1, key("factor").c_str(), rope.factor,
                " does not stretch; use a number from 1 upwards");
  check.size(key("original_max_position_embeddings").c_str(),
             rope.original_max_position_embeddings);
  check.positive(key("beta_slow").c_str(), rope.beta_slow);
  check.require_fit(std::isfinite(rope.beta_fast) && rope.beta_fast >= rope.beta_slow,
                    key("beta_fast").c_str(), key("beta_slow"), rope.beta_fast,
                    " is below beta_slow ", rope.beta_slow, "; use beta_slow or more");
}

void check_attention(const ModelConfig& m, Checker& check) {
  check.size("num_attention_heads", m.num_attention_heads);
  check.size("head_dim", m.head_dim);
  check.size("qk_rope_head_dim", m.qk_rope_head_dim);
  check.size("q_lora_rank", m.q_lora_rank);
  check.size("o_groups", m.o_groups);
  check.size("o_lora_rank", m.o_lora_rank);
  check.size("sliding_window", m.sliding_window);
  check.require(m.qk_rope_head_dim % 2 == 0, "qk_rope_head_dim", m.qk_rope_head_dim,
                " is odd, and rotary dimensions come in pairs; use an even number");
  check.require_fit(m.head_dim >= m.qk_rope_head_dim, "qk_rope_head_dim", "head_dim",
                    m.qk_rope_head_dim, " is wider than head_dim ", m.head_dim,
                    "; use at most head_dim");
  check.require_fit(m.o_groups < 1 || m.num_attention_heads % m.o_groups == 0, "o_groups",
                    "num_attention_heads", m.o_groups, " does not divide num_attention_heads ",
                    m.num_attention_heads, "; use a divisor of it");
  check_rope("main", m.rope_main, check);

  const bool sparse = has_kind(m, AttentionKind::kCompressedSparse);
  const bool heavy = has_kind(m, AttentionKind::kHeavilyCompressed);
  if (sparse || heavy) check_rope("compress", m.rope_compress, check);
  if (sparse) {
    check.size("compress_rates.compressed_sparse_attention", m.compress_rate_csa, 2);
    check.size("index_n_heads", m.index_n_heads);
    check.size("index_head_dim", m.index_head_dim);
    check.size("index_topk", m.index_topk);
    check.require_fit(m.index_head_dim >= m.qk_rope_head_dim, "index_head_dim", "qk_rope_head_dim",
                      m.index_head_dim, " is narrower than qk_rope_head_dim ", m.qk_rope_head_dim,
                      "; use at least that");
    const bool fp4 = m.fp4.indexer != Quantization::kOff;
    check.require_fit(!fp4 || (has_hadamard(m.index_head_dim) && m.index_head_dim <= kMostKeyWidth),
                      "index_head_dim", "fp4.indexer", m.index_head_dim,
                      " has no Hadamard matrix here, which fp4.indexer ", name_of(m.fp4.indexer),
                      " needs; use a power of two up to ", kMostKeyWidth, ", or fp4.indexer off");
  }
  if (heavy) check.size("compress_rates.heavily_compressed_attention", m.compress_rate_hca, 2);
}

void check_experts(const ModelConfig& m, Checker& check) {
  check.size("n_routed_experts", m.n_routed_experts);
  check.size("n_shared_experts", m.n_shared_experts, 0, 1);
  check.size("num_experts_per_tok", m.num_experts_per_tok);
  check.require_fit(m.num_experts_per_tok <= m.n_routed_experts, "num_experts_per_tok",
                    "n_routed_experts", m.num_experts_per_tok, " chosen of n_routed_experts ",
                    m.n_routed_experts, "; use at most n_routed_experts");
  check.size("moe_intermediate_size", m.moe_intermediate_size);
  check.size("intermediate_size", m.intermediate_size, 0);
  check.positive("routed_scaling_factor", m.routed_scaling_factor);
  check.not_negative("swiglu_limit", m.swiglu_limit);
}

// About the formula of spec 1.4, in doubles: only its size matters.
double estimate_parameters(const ModelConfig& m) {
  const auto d = [](std::int64_t n) { return static_cast<double>(n); };
  const double C = d(m.hidden_size), heads = d(m.num_attention_heads) * d(m.head_dim);
  const double attention = C * d(m.q_lora_rank) + d(m.q_lora_rank) * heads + C * d(m.head_dim) +
                           heads * d(m.o_lora_rank) + d(m.o_groups) * d(m.o_lora_rank) * C;
  const double experts = (d(m.n_routed_experts) + 1) * 3 * C * d(m.moe_intermediate_size) +
                         d(m.n_routed_experts) * C + 3 * C * d(m.intermediate_size);
  const double streams = 2 * d(m.hc_mult) * d(m.hc_mult + 2) * d(m.hc_mult) * C;
  const double layers = d(m.num_hidden_layers + m.num_nextn_predict_layers);
  const auto hashed =
      std::count(m.mlp_layer_types.begin(), m.mlp_layer_types.end(), FeedForwardKind::kHashMoe);
  const double tables = d(hashed) * d(m.vocab_size) * d(m.num_experts_per_tok);
  return layers * (attention + experts + streams) + tables + 2 * d(m.vocab_size) * C + 4 * C * C;
}

// A dense layer without a width of its own is as wide as a token's experts together.
void derive_dense_width(ModelConfig& m) {
  const bool dense = std::find(m.mlp_layer_types.begin(), m.mlp_layer_types.end(),
                               FeedForwardKind::kDense) != m.mlp_layer_types.end();
  const std::int64_t experts = m.num_experts_per_tok + m.n_shared_experts;
  if (!dense || m.intermediate_size != 0) return;
  m.intermediate_size =
      m.moe_intermediate_size <= kMaxSize / experts ? m.moe_intermediate_size * experts : kMaxSize;
}

}  // namespace

std::vector<ModelProblem> ModelConfig::complete() {
  Checker check;
  if (residual == ResidualKind::kPlain) hc_mult = 1;

  check.size("vocab_size", vocab_size, 2);
  check.size("hidden_size", hidden_size);
  derive_layers(*this, check);
  check.size("max_position_embeddings", max_position_embeddings);
  check.positive("rms_norm_eps", rms_norm_eps);
  check.not_negative("initializer_range", initializer_range);
  check_attention(*this, check);
  check.size("hc_mult", hc_mult, 1, kMaxStreams);
  check.size("hc_sinkhorn_iters", hc_sinkhorn_iters, 1, kMaxSinkhornIters);
  check.not_negative("hc_eps", hc_eps);
  check_experts(*this, check);
  if (check.problems.empty()) derive_dense_width(*this);
  check.size("num_nextn_predict_layers", num_nextn_predict_layers, 0, 1);
  const std::int64_t last_id = std::max<std::int64_t>(vocab_size, 1) - 1;
  for (const auto& [key, id] :
       {std::pair("bos_token_id", bos_token_id), std::pair("eos_token_id", eos_token_id)}) {
    check.require_fit(id >= 0 && id <= last_id, key, "vocab_size", id,
                      " is out of range; use 0 to ", last_id);
  }
  check.not_negative("init.std", init.std);
  check.not_negative("init.hc_std", init.hc_std);
  check.not_negative("init.hc_scale", init.hc_scale);
  check.require(std::isfinite(init.hc_res_diagonal), "init.hc_res_diagonal", init.hc_res_diagonal,
                " is not finite; use a number such as 6");
  check.require(fp4.from_step >= 0, "fp4.from_step", fp4.from_step,
                " is no step; use a number from 0 upwards");
  if (check.problems.empty()) {
    const std::int64_t most = kMaxExperts / num_hidden_layers;
    check.require_fit(n_routed_experts <= most, "n_routed_experts", kAllKeys, n_routed_experts,
                      " in each of ", num_hidden_layers, " layers; use at most ", most);
  }
  if (check.problems.empty()) {
    const double parameters = estimate_parameters(*this);
    check.require_fit(parameters < kMaxParameters, "hidden_size", kAllKeys,
                      "the sizes multiply to ", parameters, " parameters; keep them below ",
                      kMaxParameters);
  }
  return std::move(check.problems);
}

Precision ModelConfig::precision_at(std::int64_t done) const {
  const auto on = [&](Quantization kind) {
    return kind == Quantization::kPtq || (kind == Quantization::kQat && done >= fp4.from_step);
  };
  return {on(fp4.experts), on(fp4.indexer), fp8_kv != Quantization::kOff};
}

void ModelConfig::finish(const std::string& where) {
  std::ostringstream lines;
  for (const ModelProblem& problem : complete()) {
    lines << (lines.tellp() > 0 ? "\n" : "") << where << ": " << problem.key << ": "
          << problem.what;
  }
  if (lines.tellp() > 0) reject(Failure::kUsage, lines.str());
}

const char* name_of(AttentionKind kind) {
  switch (kind) {
    case AttentionKind::kSliding:
      return "sliding_attention";
    case AttentionKind::kCompressedSparse:
      return "compressed_sparse_attention";
    case AttentionKind::kHeavilyCompressed:
      return "heavily_compressed_attention";
    case AttentionKind::kFull:
      return "full_attention";
  }
  check_failed(__FILE__, __LINE__, "a known AttentionKind");
}

const char* name_of(FeedForwardKind kind) {
  switch (kind) {
    case FeedForwardKind::kMoe:
      return "moe";
    case FeedForwardKind::kHashMoe:
      return "hash_moe";
    case FeedForwardKind::kDense:
      return "dense";
  }
  check_failed(__FILE__, __LINE__, "a known FeedForwardKind");
}

const char* name_of(ResidualKind kind) {
  switch (kind) {
    case ResidualKind::kManifold:
      return "mhc";
    case ResidualKind::kHyper:
      return "hc";
    case ResidualKind::kPlain:
      return "plain";
  }
  check_failed(__FILE__, __LINE__, "a known ResidualKind");
}

const char* name_of(RouterScore kind) {
  switch (kind) {
    case RouterScore::kSqrtSoftplus:
      return "sqrtsoftplus";
    case RouterScore::kSigmoid:
      return "sigmoid";
    case RouterScore::kSoftmax:
      return "softmax";
  }
  check_failed(__FILE__, __LINE__, "a known RouterScore");
}

const char* name_of(Quantization kind) {
  switch (kind) {
    case Quantization::kOff:
      return "off";
    case Quantization::kQat:
      return "qat";
    case Quantization::kPtq:
      return "ptq";
  }
  check_failed(__FILE__, __LINE__, "a known Quantization");
}

const char* name_of(IndexerMode mode) {
  switch (mode) {
    case IndexerMode::kDense:
      return "dense";
    case IndexerMode::kWarmup:
      return "warmup";
    case IndexerMode::kSparse:
      return "sparse";
  }
  check_failed(__FILE__, __LINE__, "a known IndexerMode");
}

}  // namespace shoal

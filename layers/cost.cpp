#include "layers/cost.h"

#include <algorithm>
#include <numeric>

#include "layers/model.h"

namespace shoal {
namespace {

double real(std::int64_t n) { return static_cast<double>(n); }

bool contains(const std::string& name, const char* part) {
  return name.find(part) != std::string::npos;
}

Part part_of(const std::string& name, ParamGroup group) {
  if (name.starts_with("mtp.")) return Part::kMtp;
  if (name == "embed.weight") return Part::kEmbedding;
  if (name == "head.weight") return Part::kHead;
  if (contains(name, "hc_")) return Part::kMixing;
  if (contains(name, ".compressor.")) return Part::kCompressor;
  if (group == ParamGroup::kIndexer) {
    return contains(name, ".weights_proj.") ? Part::kIndexerWeights : Part::kIndexer;
  }
  if (contains(name, ".attn.")) return Part::kAttention;
  if (contains(name, ".ffn.gate.")) return Part::kRouter;
  if (contains(name, ".ffn.")) return Part::kExperts;
  return Part::kNorms;
}

// Keys that a query attends to, summed over the layers.
double attended_keys(const ModelConfig& m, std::int64_t n) {
  double keys = 0;
  for (const AttentionKind kind : m.layer_types) {
    if (kind == AttentionKind::kFull) {
      keys += real(n);
      continue;
    }
    keys += real(std::min(n, m.sliding_window));
    if (kind == AttentionKind::kCompressedSparse) {
      keys += std::min(real(n) / real(m.compress_rate_csa), real(m.index_topk));
    } else if (kind == AttentionKind::kHeavilyCompressed) {
      keys += real(n) / real(m.compress_rate_hca);
    }
  }
  return keys;
}

// What a FLOP of each format counts; FP8 is 1.
struct Weights {
  double bf16, kept, attention, indexer;  // kept: in FP32 where a convention says so
};
Weights weights_of(Convention convention) {
  switch (convention) {
    case Convention::kD:
      return {1, 1, 2, 0.5};
    case Convention::kE:
      return {2, 2, 2, 0.5};
    case Convention::kH:
      return {2, 4, 2, 0.5};
  }
  check_failed(__FILE__, __LINE__, "a known Convention");
}

}  // namespace

const char* name_of(Part part) {
  constexpr std::array<const char*, kCostParts> kNames = {
      "embedding", "head",   "attention", "compressor", "indexer", "indexer_weights",
      "experts",   "router", "mixing",    "norms",      "mtp"};
  return kNames[static_cast<std::size_t>(part)];
}

const char* name_of(Convention convention) {
  switch (convention) {
    case Convention::kD:
      return "D";
    case Convention::kE:
      return "E";
    case Convention::kH:
      return "H";
  }
  check_failed(__FILE__, __LINE__, "a known Convention");
}

std::int64_t ParameterCount::with_mtp() const {
  return std::accumulate(parts.begin(), parts.end(), std::int64_t{0});
}

std::int64_t ParameterCount::total_active() const {
  return std::accumulate(active.begin(), active.end(), std::int64_t{0});
}

ParameterCount count_parameters(Model& model) {
  const ModelConfig& config = model.config();
  ParameterCount count;
  std::int64_t routed = 0;
  const auto add = [&](const std::string& name, ParamGroup group, std::int64_t n) {
    const Part part = part_of(name, group);
    count.parts[static_cast<std::size_t>(part)] += n;
    if (part == Part::kEmbedding || part == Part::kMtp) return;
    const bool is_routed = part == Part::kExperts && contains(name, ".ffn.experts.");
    (is_routed ? routed : count.active[static_cast<std::size_t>(part)]) += n;
  };
  model.store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
    add(piece.name, p.group, piece.shape.numel());
  });
  for (const ModelBuffer& b : model.store().buffers()) {
    if (b.value.dtype == DType::kF32) add(b.name, ParamGroup::kModel, b.value.shape.numel());
  }
  count.active[static_cast<std::size_t>(Part::kExperts)] +=
      routed / config.n_routed_experts * config.num_experts_per_tok;
  return count;
}

double kv_bytes(const ModelConfig& m, std::int64_t n) {
  const std::int64_t plain = m.head_dim - m.qk_rope_head_dim;
  // A scale for every 64 dimensions in FP8, padded to eight bytes.
  const std::int64_t scales = ((plain + 63) / 64 + 7) / 8 * 8;
  const double entry = real(plain + 2 * m.qk_rope_head_dim + scales);
  const double key = real(m.index_head_dim) / 2.0 + real((m.index_head_dim + 31) / 32);
  double bytes = 0;
  for (const AttentionKind kind : m.layer_types) {
    bytes += entry * real(kind == AttentionKind::kFull ? n : std::min(n, m.sliding_window));
    const std::int64_t rate = m.compress_rate(kind);
    if (rate > 0) bytes += entry * real(n / rate);
    if (kind == AttentionKind::kCompressedSparse) bytes += key * real(n / rate);
  }
  return bytes;
}

DecodeFlops decode_flops(const ModelConfig& m, const ParameterCount& parameters, std::int64_t n) {
  DecodeFlops f;
  f.linear = 2.0 * real(parameters.total_active());
  f.attention = 4.0 * real(m.num_attention_heads * m.head_dim) * attended_keys(m, n);
  const auto sparse = static_cast<double>(
      std::count(m.layer_types.begin(), m.layer_types.end(), AttentionKind::kCompressedSparse));
  f.indexer =
      sparse * 2.0 * real(m.index_n_heads * m.index_head_dim) * real(n) / real(m.compress_rate_csa);
  return f;
}

double equivalent_flops(const ModelConfig& m, const ParameterCount& parameters, std::int64_t n,
                        Convention convention) {
  const Weights w = weights_of(convention);
  const DecodeFlops f = decode_flops(m, parameters, n);
  const double bf16 = 2.0 * real(parameters[Part::kHead] + parameters[Part::kIndexerWeights]);
  const double kept = 2.0 * real(parameters[Part::kCompressor] + parameters[Part::kMixing] +
                                 parameters[Part::kRouter]);
  return f.linear + (w.bf16 - 1) * bf16 + (w.kept - 1) * kept + w.attention * f.attention +
         w.indexer * f.indexer;
}

namespace v32 {
namespace {

constexpr double kLayers = 61, kDenseLayers = 3, kWidth = 7168, kHeads = 128, kLatent = 512;
constexpr double kHead = 129280 * kWidth;
constexpr double kUp = kHeads * (128 + 128) * kLatent;  // absorbed keys and values, in BF16
constexpr double kIndexerWeights = kWidth * 64;

}  // namespace

// Of a token and layer: 512 dimensions in FP8 with 4 scales of 4 bytes, 64 rotary ones in BF16, an
// indexer key of 128 in FP8 with its scale.
double kv_bytes(std::int64_t n) { return kLayers * (512 + 4 * 4 + 64 * 2 + 128 + 4) * real(n); }

DecodeFlops decode_flops(std::int64_t n) {
  const double attention =
      kWidth * 1536 + 1536 * kHeads * 192 + kWidth * (kLatent + 64) + kUp + kHeads * 128 * kWidth;
  const double indexer = 1536 * 64 * 128 + kWidth * 128 + kIndexerWeights;
  const double experts = 9 * 3 * kWidth * 2048 + kWidth * 256;
  const double dense = 3 * kWidth * 18432;
  DecodeFlops f;
  f.linear = 2 * (kLayers * (attention + indexer) + kDenseLayers * dense +
                  (kLayers - kDenseLayers) * experts + kHead);
  f.attention = kLayers * 2 * kHeads * (576 + kLatent) * std::min(real(n), 2048.0);
  f.indexer = kLayers * 2 * 64 * 128 * real(n);
  return f;
}

double equivalent_flops(std::int64_t n, Convention convention) {
  const Weights w = weights_of(convention);
  const DecodeFlops f = decode_flops(n);
  const double bf16 = 2 * (kHead + kLayers * (kUp + kIndexerWeights));
  return f.linear + (w.bf16 - 1) * bf16 + w.attention * f.attention + f.indexer;  // its own is FP8
}

}  // namespace v32
}  // namespace shoal

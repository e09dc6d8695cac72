#include "layers/flops.h"

#include <algorithm>

#include "layers/residual/streams.h"

namespace shoal {
namespace {

constexpr double kMultiplyAdd = 2.0;

// Multiply-adds per token of the products with weights.
double attention_products(const ModelConfig& m, AttentionKind kind) {
  const auto d = static_cast<double>(m.hidden_size);
  const auto heads = static_cast<double>(m.num_attention_heads * m.head_dim);
  const auto latent = static_cast<double>(m.q_lora_rank), out = static_cast<double>(m.o_lora_rank);
  const double halves = kind == AttentionKind::kCompressedSparse ? 2.0 : 1.0;
  const double compressor =
      m.compress_rate(kind) > 0 ? 2.0 * halves * d * static_cast<double>(m.head_dim) : 0.0;
  return d * latent + latent * heads + d * static_cast<double>(m.head_dim) + compressor +
         heads * out + static_cast<double>(m.o_groups) * out * d;
}

double indexer_products(const ModelConfig& m) {
  const auto d = static_cast<double>(m.hidden_size), width = static_cast<double>(m.index_head_dim);
  const auto heads = static_cast<double>(m.index_n_heads);
  return static_cast<double>(m.q_lora_rank) * heads * width + d * heads + 4.0 * d * width;
}

double rest_of_block(const ModelConfig& m, FeedForwardKind kind) {
  const auto d = static_cast<double>(m.hidden_size);
  const bool dense = kind == FeedForwardKind::kDense;
  const auto width = static_cast<double>(m.expert_width(kind));
  const auto experts = static_cast<double>(dense ? 1 : m.num_experts_per_tok + m.n_shared_experts);
  const double router = dense ? 0.0 : d * static_cast<double>(m.n_routed_experts);
  const auto n = static_cast<double>(Residual::streams(m));
  const double mixing = m.residual == ResidualKind::kPlain ? 0.0 : 2.0 * n * d * (2.0 * n + n * n);
  return 3.0 * experts * d * width + router + mixing;
}

double head_mixing(const ModelConfig& m) {
  const auto n = static_cast<double>(Residual::streams(m));
  return m.residual == ResidualKind::kPlain ? 0.0 : n * n * static_cast<double>(m.hidden_size);
}

bool indexers_learn(const IndexerPlan& plan) {
  return plan.mode != IndexerMode::kDense && plan.learns;
}

}  // namespace

ModelFlops count_flops(const ModelConfig& m, const StepParts& parts) {
  // Forward and twice backward; while the indexers alone learn, the rest runs forward only.
  const double trained = kMultiplyAdd * (parts.indexer.mode == IndexerMode::kWarmup ? 1.0 : 3.0);
  const bool learns = indexers_learn(parts.indexer);
  // q . k and P k, per head
  const double pair = trained * 2.0 * static_cast<double>(m.num_attention_heads * m.head_dim);
  const double score = kMultiplyAdd * static_cast<double>(m.index_n_heads * m.index_head_dim);
  ModelFlops f;
  f.per_token = trained * head_mixing(m);
  f.per_target = trained * static_cast<double>(m.hidden_size * m.vocab_size);
  for (std::size_t l = 0; l < m.layer_types.size(); ++l) {
    const AttentionKind kind = m.layer_types[l];
    f.per_token += trained * (attention_products(m, kind) + rest_of_block(m, m.mlp_layer_types[l]));
    (kind == AttentionKind::kFull ? f.full : f.window) += pair;
    if (kind == AttentionKind::kHeavilyCompressed) f.heavy += pair;
    if (kind != AttentionKind::kCompressedSparse) continue;
    f.sparse += pair;
    // The indexer's input is detached: forward, and once backward for its weights.
    f.indexers += kMultiplyAdd * (learns ? 2.0 : 1.0) * indexer_products(m);
    f.scored += score;
    if (learns) f.learned += 2.0 * score;
  }
  if (m.num_nextn_predict_layers > 0 && parts.mtp) {
    const auto d = static_cast<double>(m.hidden_size);
    const double join = d * d * (1.0 + static_cast<double>(Residual::streams(m)));
    f.mtp_per_token = trained * (attention_products(m, AttentionKind::kSliding) +
                                 rest_of_block(m, FeedForwardKind::kMoe) + join + head_mixing(m));
    f.mtp_per_target = f.per_target;
    f.mtp_window = pair;
  }
  return f;
}

double step_flops(const ModelConfig& m, const StepParts& parts, const Batch& batch) {
  const ModelFlops f = count_flops(m, parts);
  const auto seen = [&](std::int64_t n) {
    return n - batch.first[static_cast<std::size_t>(n)] + 1;
  };
  std::int64_t most_seen = 0;
  for (std::int64_t n = 0; n < batch.rows(); ++n) most_seen = std::max(most_seen, seen(n));
  const bool learns = indexers_learn(parts.indexer);
  const bool choose =
      parts.indexer.mode == IndexerMode::kSparse && most_seen / m.compress_rate_csa > m.index_topk;
  double flops = 0.0;
  for (std::int64_t n = 0; n < batch.rows(); ++n) {
    if (batch.is_padding(n)) continue;
    const auto window = static_cast<double>(std::min(seen(n), m.sliding_window));
    const std::int64_t entries = seen(n) / m.compress_rate_csa;
    const std::int64_t heavy = seen(n) / m.compress_rate_hca;
    const std::int64_t looked_at = choose ? std::min(entries, m.index_topk) : entries;
    flops += f.per_token + f.mtp_per_token + window * (f.window + f.mtp_window) +
             static_cast<double>(seen(n)) * f.full + static_cast<double>(heavy) * f.heavy +
             static_cast<double>(looked_at) * f.sparse;
    if (batch.targets[static_cast<std::size_t>(n)] >= 0) flops += f.per_target;
    if (batch.second_target(n) >= 0) flops += f.mtp_per_target;
    if (choose || learns) flops += f.indexers;
    // Of a single entry there is nothing to learn.
    if ((learns && entries > 1) || (choose && entries > m.index_topk)) {
      flops += static_cast<double>(entries) * f.scored;
    }
    if (learns && looked_at > 1) flops += static_cast<double>(looked_at) * f.learned;
  }
  return flops;
}

}  // namespace shoal

#include "layers/flops.h"

#include <algorithm>

#include "layers/residual/streams.h"

namespace shoal {
namespace {

constexpr double kTraining = 3.0 * 2.0;  // forward and twice backward, two operations each

// Multiply-adds per token of one block's products with weights.
double block_products(const ModelConfig& m, FeedForwardKind kind) {
  const auto d = static_cast<double>(m.hidden_size);
  const auto heads = static_cast<double>(m.num_attention_heads * m.head_dim);
  const auto latent = static_cast<double>(m.q_lora_rank), out = static_cast<double>(m.o_lora_rank);
  const double attention = d * latent + latent * heads + d * static_cast<double>(m.head_dim) +
                           heads * out + static_cast<double>(m.o_groups) * out * d;
  const bool dense = kind == FeedForwardKind::kDense;
  const auto width = static_cast<double>(m.expert_width(kind));
  const auto experts = static_cast<double>(dense ? 1 : m.num_experts_per_tok + m.n_shared_experts);
  const double router = dense ? 0.0 : d * static_cast<double>(m.n_routed_experts);
  const auto n = static_cast<double>(Residual::streams(m));
  const double mixing = m.residual == ResidualKind::kPlain ? 0.0 : 2.0 * n * d * (2.0 * n + n * n);
  return attention + 3.0 * experts * d * width + router + mixing;
}

double head_products(const ModelConfig& m) {
  const auto d = static_cast<double>(m.hidden_size);
  const auto n = static_cast<double>(Residual::streams(m));
  const double collapse = m.residual == ResidualKind::kPlain ? 0.0 : n * n * d;
  return d * static_cast<double>(m.vocab_size) + collapse;
}

}  // namespace

ModelFlops count_flops(const ModelConfig& m) {
  ModelFlops f;
  // q . k and P k, per head
  const double pair = kTraining * 2.0 * static_cast<double>(m.num_attention_heads * m.head_dim);
  for (const FeedForwardKind kind : m.mlp_layer_types) {
    f.per_token += kTraining * block_products(m, kind);
    f.per_pair += pair;
  }
  f.per_token += kTraining * head_products(m);
  if (m.num_nextn_predict_layers > 0) {
    const auto d = static_cast<double>(m.hidden_size);
    const double join = d * d * (1.0 + static_cast<double>(Residual::streams(m)));
    f.mtp_per_token =
        kTraining * (block_products(m, FeedForwardKind::kMoe) + join + head_products(m));
    f.mtp_per_pair = pair;
  }
  return f;
}

double step_flops(const ModelConfig& m, const ModelFlops& flops, const Batch& batch) {
  double tokens = 0.0, pairs = 0.0;
  for (std::int64_t n = 0; n < batch.rows(); ++n) {
    if (batch.is_padding(n)) continue;
    tokens += 1.0;
    pairs += static_cast<double>(
        std::min(n - batch.first[static_cast<std::size_t>(n)] + 1, m.sliding_window));
  }
  return tokens * (flops.per_token + flops.mtp_per_token) +
         pairs * (flops.per_pair + flops.mtp_per_pair);
}

}  // namespace shoal

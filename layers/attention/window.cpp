#include "layers/attention/window.h"

#include "autograd/ops/head_norm_rope.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/rms_norm.h"
#include "autograd/ops/window_attention.h"
#include "layers/norm.h"

namespace shoal {

WindowAttentionLayer::WindowAttentionLayer(ParamStore& store, const std::string& prefix,
                                           const ModelConfig& config, double std)
    : config_(config),
      wq_a_(add_matrix(store, prefix + "wq_a.weight", config.q_lora_rank, config.hidden_size, std)),
      q_norm_(add_norm(store, prefix + "q_norm.weight", config.q_lora_rank)),
      wq_b_(add_matrix(store, prefix + "wq_b.weight", config.num_attention_heads * config.head_dim,
                       config.q_lora_rank, std)),
      wkv_(add_matrix(store, prefix + "wkv.weight", config.head_dim, config.hidden_size, std)),
      kv_norm_(add_norm(store, prefix + "kv_norm.weight", config.head_dim)),
      sink_(store.add({.name = prefix + "attn_sink",
                       .shape = {config.num_attention_heads},
                       .matrix = false,
                       .decay = false,
                       .init = Init::kZeros})),
      wo_a_(add_matrix(store, prefix + "wo_a.weight", config.o_groups * config.o_lora_rank,
                       config.num_attention_heads / config.o_groups * config.head_dim, std,
                       std::vector<std::int64_t>(static_cast<std::size_t>(config.o_groups),
                                                 config.o_lora_rank))),
      wo_b_(add_matrix(store, prefix + "wo_b.weight", config.hidden_size,
                       config.o_groups * config.o_lora_rank, std)) {}

Tensor WindowAttentionLayer::forward(Tape& tape, Tensor x_NC, const BatchTensors& batch,
                                     RopeTable rope) const {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  const std::int64_t D = config_.head_dim;
  const Tensor latent = rms_norm(tape, linear(tape, x_NC, wq_a_.value), q_norm_.value, eps);
  const Tensor q =
      head_norm_rope(tape, linear(tape, latent, wq_b_.value), {}, D, rope, batch.position, eps);
  const Tensor kv = head_norm_rope(tape, linear(tape, x_NC, wkv_.value), kv_norm_.value, D, rope,
                                   batch.position, eps);
  const Tensor o = window_attention(tape, q, kv, sink_.value, batch.first, batch.position, rope,
                                    config_.sliding_window);
  return linear(tape, grouped_linear(tape, o, wo_a_.value, config_.o_groups), wo_b_.value);
}

}  // namespace shoal

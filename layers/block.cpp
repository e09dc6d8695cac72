#include "layers/block.h"

#include "autograd/ops/rms_norm.h"
#include "layers/norm.h"

namespace shoal {

Block::Block(ParamStore& store, const std::string& prefix, const ModelConfig& config,
             AttentionKind attention, FeedForwardKind feed_forward, double std)
    : label_(prefix.substr(0, prefix.size() - 1)),
      eps_(static_cast<float>(config.rms_norm_eps)),
      hc_attn_(store, prefix + "hc_attn", config),
      hc_ffn_(store, prefix + "hc_ffn", config),
      attn_norm_(add_norm(store, prefix + "attn_norm.weight", config.hidden_size)),
      attn_(store, prefix + "attn.", config, attention, std),
      ffn_norm_(add_norm(store, prefix + "ffn_norm.weight", config.hidden_size)),
      ffn_(store, prefix + "ffn.", config, feed_forward, std) {}

StreamMix Block::attention_mix(Tape& tape, Tensor X) const { return hc_attn_.collapse(tape, X); }

Tensor Block::attention_input(Tape& tape, const StreamMix& mix) const {
  return rms_norm(tape, mix.read, attn_norm_.weight(), eps_);
}

Block::Result Block::after_attention(Tape& tape, Tensor X, Tensor attended, const StreamMix& mix,
                                     Tensor tokens, const BatchTensors& batch,
                                     const RoutePlan& routes) const {
  const StreamStep ffn = hc_attn_.expand_into(tape, X, attended, mix, hc_ffn_);
  const Tensor x_NC = rms_norm(tape, ffn.mix.read, ffn_norm_.weight(), eps_);
  const MoeLayer::Result moe = ffn_.forward(tape, x_NC, tokens, batch, routes);
  Result result{hc_ffn_.expand(tape, ffn.x, moe.y, ffn.mix), moe.balance, moe.routes};
  result.comb_attention = mix.comb;
  result.comb_ffn = ffn.mix.comb;
  result.router_logits = moe.router_logits;
  result.router_scores = moe.router_scores;
  return result;
}

Block::Result Block::forward(Tape& tape, Tensor X, Tensor tokens, const BlockInput& input,
                             const RoutePlan& routes) const {
  const Label label(tape, label_);
  const StreamMix mix = attention_mix(tape, X);
  const AttentionLayer::Result attended = attn_.forward(
      tape, attention_input(tape, mix), *input.batch, input.ropes, input.indexer, input.precision);
  Result result = after_attention(tape, X, attended.y, mix, tokens, *input.batch, routes);
  result.index_loss = attended.index_loss;
  result.chosen = attended.chosen;
  result.exact = attended.exact;
  result.softmax = attended.softmax;
  return result;
}

}  // namespace shoal

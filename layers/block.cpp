#include "layers/block.h"

#include "autograd/ops/rms_norm.h"
#include "layers/norm.h"

namespace shoal {

Block::Block(ParamStore& store, const std::string& prefix, const ModelConfig& config,
             FeedForwardKind feed_forward, double std)
    : label_(prefix.substr(0, prefix.size() - 1)),
      eps_(static_cast<float>(config.rms_norm_eps)),
      hc_attn_(store, prefix + "hc_attn", config),
      hc_ffn_(store, prefix + "hc_ffn", config),
      attn_norm_(add_norm(store, prefix + "attn_norm.weight", config.hidden_size)),
      attn_(store, prefix + "attn.", config, std),
      ffn_norm_(add_norm(store, prefix + "ffn_norm.weight", config.hidden_size)),
      ffn_(store, prefix + "ffn.", config, feed_forward, std) {}

Block::Result Block::forward(Tape& tape, Tensor X, Tensor tokens, const BatchTensors& batch,
                             RopeTable rope, MoeStats* stats) const {
  const Label label(tape, label_);
  const StreamMix attn = hc_attn_.collapse(tape, X);
  const Tensor attended =
      attn_.forward(tape, rms_norm(tape, attn.read, attn_norm_.value, eps_), batch, rope);
  const StreamStep ffn = hc_attn_.expand_into(tape, X, attended, attn, hc_ffn_);
  const MoeLayer::Result moe =
      ffn_.forward(tape, rms_norm(tape, ffn.mix.read, ffn_norm_.value, eps_), tokens, batch, stats);
  return {hc_ffn_.expand(tape, ffn.x, moe.y, ffn.mix), moe.balance};
}

}  // namespace shoal

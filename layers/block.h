#pragma once
#include "layers/attention/attention.h"
#include "layers/moe/moe.h"
#include "layers/residual/streams.h"

namespace shoal {

// What the blocks of a model share in one forward pass.
struct BlockInput {
  const BatchTensors* batch = nullptr;
  RopeTables ropes;
  IndexerPlan indexer;
  Precision precision;
};

// One block (spec 1.1):  X = mHC_attn(X, attention o RMSNorm);  X = mHC_ffn(X, MoE o RMSNorm).
class Block {
 public:
  // prefix: "layers.3." or "mtp.0."
  Block(ParamStore& store, const std::string& prefix, const ModelConfig& config,
        AttentionKind attention, FeedForwardKind feed_forward, double std);

  struct Result {
    Tensor X;        // [N, n, C]
    Tensor balance;  // [1] or null
    Routes routes;
    IndexLoss index_loss = {};  // null tensors where there is none
    Tensor chosen = {};         // [N, k] i32 or null, see AttentionLayer
    Tensor exact = {};          // likewise
    // What lies on the tape anyway, for measuring: null tensors where there is none, and of a
    // recomputed block (see BlockObserver).
    Tensor comb_attention = {}, comb_ffn = {};  // StreamMix::comb of the two sublayers
    AttentionLayer::Softmax softmax = {};
    Tensor router_logits = {}, router_scores = {};  // [N, E]
  };
  Result forward(Tape& tape, Tensor X, Tensor tokens, const BlockInput& input,
                 const RoutePlan& routes) const;

  // The steps of forward(), for decoding from a cache: attention's input, and all that follows
  // attention.
  StreamMix attention_mix(Tape& tape, Tensor X) const;
  Tensor attention_input(Tape& tape, const StreamMix& mix) const;
  Result after_attention(Tape& tape, Tensor X, Tensor attended, const StreamMix& mix, Tensor tokens,
                         const BatchTensors& batch, const RoutePlan& routes = {}) const;

  const AttentionLayer& attention() const { return attn_; }
  const MoeLayer& feed_forward() const { return ffn_; }
  std::string_view label() const { return label_; }

 private:
  std::string label_;
  float eps_;
  Residual hc_attn_, hc_ffn_;
  ModelParam& attn_norm_;
  AttentionLayer attn_;
  ModelParam& ffn_norm_;
  MoeLayer ffn_;
};

}  // namespace shoal

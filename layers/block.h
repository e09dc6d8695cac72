#pragma once
#include "layers/attention/window.h"
#include "layers/moe/moe.h"
#include "layers/residual/streams.h"

namespace shoal {

// One block (spec 1.1):  X = mHC_attn(X, attention o RMSNorm);  X = mHC_ffn(X, MoE o RMSNorm).
class Block {
 public:
  // prefix: "layers.3." or "mtp.0."
  Block(ParamStore& store, const std::string& prefix, const ModelConfig& config,
        FeedForwardKind feed_forward, double std);

  struct Result {
    Tensor X;        // [N, n, C]
    Tensor balance;  // [1] or null
  };
  Result forward(Tape& tape, Tensor X, Tensor tokens, const BatchTensors& batch, RopeTable rope,
                 MoeStats* stats) const;

  const MoeLayer& feed_forward() const { return ffn_; }
  std::string_view label() const { return label_; }

 private:
  std::string label_;
  float eps_;
  Residual hc_attn_, hc_ffn_;
  ModelParam& attn_norm_;
  WindowAttentionLayer attn_;
  ModelParam& ffn_norm_;
  MoeLayer ffn_;
};

}  // namespace shoal

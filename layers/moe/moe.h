#pragma once
#include <vector>

#include "autograd/ops/experts.h"
#include "layers/batch_tensors.h"
#include "layers/config.h"
#include "layers/params.h"

namespace shoal {

// What a feed-forward layer did in a step: integers, so that sums over micro-batches and ranks are
// exact. Padding counts nowhere.
struct MoeStats {
  std::vector<std::int64_t> load;  // tokens per routed expert
  ClampCount clamped;
};

// The feed-forward sublayer (spec 5): hash- or learned-routed experts plus the shared one, or one
// dense SwiGLU. x [N, C] -> [N, C].
class MoeLayer {
 public:
  // prefix: "layers.3.ffn."
  MoeLayer(ParamStore& store, const std::string& prefix, const ModelConfig& config,
           FeedForwardKind kind, double std);

  struct Result {
    Tensor y;
    Tensor balance;  // [1], summed over sequences; null where there is none
  };
  // tokens: what a hash layer looks up. stats: null, or added to.
  Result forward(Tape& tape, Tensor x_NC, Tensor tokens, const BatchTensors& batch,
                 MoeStats* stats) const;

  FeedForwardKind kind() const { return kind_; }
  bool has_balance() const { return kind_ == FeedForwardKind::kMoe; }
  ModelBuffer* bias() const { return bias_; }    // learned routing
  ModelBuffer* table() const { return table_; }  // hash routing

 private:
  const ModelConfig& config_;
  FeedForwardKind kind_;
  std::int64_t F_;
  ModelParam *gate_ = nullptr, *w13_ = nullptr, *w2_ = nullptr;
  ModelBuffer *bias_ = nullptr, *table_ = nullptr;
};

}  // namespace shoal

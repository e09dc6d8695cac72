#pragma once
#include <array>
#include <vector>

#include "autograd/ops/experts.h"
#include "autograd/ops/router.h"
#include "layers/batch_tensors.h"
#include "layers/config.h"
#include "layers/moe/dispatch.h"
#include "layers/params.h"

namespace shoal {

// How a layer's tokens find their experts, and what came of it. Integers, so that sums over
// micro-batches and ranks are exact; padding counts nowhere.
struct Routes {
  Tensor ids;      // [N, K] i32; null of a dense layer
  Tensor load;     // [E] i64: tokens of each routed expert; likewise
  Tensor clamped;  // [kClampWords] i64, see ClampCount
};

// What a pass decides for the layer; the defaults leave it to itself.
struct RoutePlan {
  Tensor ids;                          // [N, K] i32 to use; null: the layer's own choice
  const Dispatch* dispatch = nullptr;  // null: all experts are here
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
    Routes routes;
    Tensor router_logits = {}, router_scores = {};  // [N, E]; null of a dense layer
  };
  // tokens: what a hash layer looks up.
  Result forward(Tape& tape, Tensor x_NC, Tensor tokens, const BatchTensors& batch,
                 const RoutePlan& plan = {}) const;
  // Null tensors of the shapes that forward() says of N rows.
  Routes shapes_of_routes(std::int64_t N) const;

  FeedForwardKind kind() const { return kind_; }
  bool has_balance() const { return kind_ == FeedForwardKind::kMoe; }
  // All that the routed experts weigh: FP4 rounds these. Null of a dense layer.
  std::array<ModelParam*, 2> routed_weights() const { return {routed_.w13, routed_.w2}; }
  ModelBuffer* bias() const { return bias_; }    // learned routing
  ModelBuffer* table() const { return table_; }  // hash routing

 private:
  struct Expert {  // its parameters, or none
    ModelParam *w13 = nullptr, *w2 = nullptr;
    ExpertWeights weights() const {
      return w2 == nullptr ? ExpertWeights{} : ExpertWeights{w13->weight(), w2->weight()};
    }
  };
  Expert add_experts(ParamStore& store, const std::string& name, ParamRole role,
                     const std::vector<std::string>& each, double std) const;
  Mixture mix(Tape& tape, const ExpertRows& rows, const Dispatch* dispatch) const;

  const ModelConfig& config_;
  FeedForwardKind kind_;
  std::int64_t F_;
  ModelParam* gate_ = nullptr;
  ModelBuffer *bias_ = nullptr, *table_ = nullptr;
  Expert routed_, shared_;  // a dense layer is a shared expert alone
};

}  // namespace shoal

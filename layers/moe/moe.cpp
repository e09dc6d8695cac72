#include "layers/moe/moe.h"

#include "autograd/ops/linear.h"
#include "autograd/ops/router.h"
#include "layers/norm.h"

namespace shoal {
namespace {

RouterFunction score_of(RouterScore score) {
  switch (score) {
    case RouterScore::kSigmoid:
      return RouterFunction::kSigmoid;
    case RouterScore::kSoftmax:
      return RouterFunction::kSoftmax;
    default:
      return RouterFunction::kSqrtSoftplus;
  }
}

}  // namespace

MoeLayer::MoeLayer(ParamStore& store, const std::string& prefix, const ModelConfig& config,
                   FeedForwardKind kind, double std)
    : config_(config), kind_(kind) {
  const bool dense = kind == FeedForwardKind::kDense;
  const std::int64_t C = config.hidden_size, E = dense ? 0 : config.n_routed_experts;
  const std::int64_t K = config.num_experts_per_tok;
  F_ = config.expert_width(kind);
  if (!dense) {
    gate_ = &add_matrix(store, prefix + "gate.weight", E, C, std);
    if (kind == FeedForwardKind::kHashMoe) {
      table_ = &store.add_buffer(prefix + "gate.tid2eid", {config.vocab_size, K}, DType::kI32);
    } else {
      bias_ = &store.add_buffer(prefix + "gate.bias", {E}, DType::kF32);
    }
  }
  // All experts of a layer lie together, the shared one last, so that one grouped product serves
  // them; their published names are kept as pieces.
  const std::int64_t G = dense ? 1 : E + config.n_shared_experts;
  std::vector<ParamPiece> up, down;
  for (std::int64_t e = 0; e < G; ++e) {
    const std::string name = prefix + (dense    ? ""
                                       : e == E ? "shared_experts."
                                                : "experts." + std::to_string(e) + ".");
    up.push_back({name + "w1.weight", e * 2 * F_ * C, {F_, C}, {}});
    up.push_back({name + "w3.weight", (e * 2 + 1) * F_ * C, {F_, C}, {}});
    down.push_back({name + "w2.weight", e * C * F_, {C, F_}, {}});
  }
  w13_ = &store.add({.name = prefix + "experts.w13",
                     .shape = {G, 2 * F_, C},
                     .std = std,
                     .pieces = std::move(up)});
  w2_ = &store.add(
      {.name = prefix + "experts.w2", .shape = {G, C, F_}, .std = std, .pieces = std::move(down)});
}

MoeLayer::Result MoeLayer::forward(Tape& tape, Tensor x_NC, Tensor tokens,
                                   const BatchTensors& batch, MoeStats* stats) const {
  const auto limit = static_cast<float>(config_.swiglu_limit);
  ClampCount* clamped = stats != nullptr ? &stats->clamped : nullptr;
  if (kind_ == FeedForwardKind::kDense) {
    return {experts(tape, x_NC, {}, {}, w13_->value, w2_->value, true, limit, clamped, batch.valid),
            {}};
  }
  const Routing routing{score_of(config_.scoring_func), config_.num_experts_per_tok,
                        static_cast<float>(config_.routed_scaling_factor), config_.norm_topk_prob};
  const Tensor logits = linear(tape, x_NC, gate_->value);
  const Routed routed = kind_ == FeedForwardKind::kHashMoe
                            ? route_by_table(tape, logits, table_->value, tokens, routing)
                            : route(tape, logits, bias_->value, batch.valid, batch.B, routing);
  if (stats != nullptr && !tape.is_replaying() && !parallel_is_off()) {
    const auto* chosen = routed.experts.as<std::int32_t>();
    const std::int64_t K = routing.experts_per_token;
    for (std::int64_t i = 0; i < x_NC.shape.rows() * K; ++i) {
      if (batch.valid.as<std::int32_t>()[i / K] != 0) {
        ++stats->load[static_cast<std::size_t>(chosen[i])];
      }
    }
  }
  return {experts(tape, x_NC, routed.gates, routed.experts, w13_->value, w2_->value,
                  config_.n_shared_experts > 0, limit, clamped, batch.valid),
          routed.balance};
}

}  // namespace shoal

#include "layers/moe/moe.h"

#include <cstring>
#include <utility>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/linear.h"
#include "layers/norm.h"

namespace shoal {
namespace {

RouterFunction function_of(RouterScore score) {
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

// Each group of experts lies together, so that one grouped product serves it; the published names
// are kept as pieces.
MoeLayer::Expert MoeLayer::add_experts(ParamStore& store, const std::string& name, ParamRole role,
                                       const std::vector<std::string>& each, double std) const {
  const std::int64_t C = config_.hidden_size;
  const auto G = static_cast<std::int64_t>(each.size());
  std::vector<ParamPiece> up, down;
  for (std::int64_t e = 0; e < G; ++e) {
    const std::string& own = each[static_cast<std::size_t>(e)];
    up.push_back({own + "w1.weight", e * 2 * F_ * C, {F_, C}, {}});
    up.push_back({own + "w3.weight", (e * 2 + 1) * F_ * C, {F_, C}, {}});
    down.push_back({own + "w2.weight", e * C * F_, {C, F_}, {}});
  }
  Expert expert;
  expert.w13 = &store.add({.name = name + "w13",
                           .shape = {G, 2 * F_, C},
                           .role = role,
                           .std = std,
                           .pieces = std::move(up)});
  expert.w2 = &store.add({.name = name + "w2",
                          .shape = {G, C, F_},
                          .role = role,
                          .std = std,
                          .pieces = std::move(down)});
  return expert;
}

MoeLayer::MoeLayer(ParamStore& store, const std::string& prefix, const ModelConfig& config,
                   FeedForwardKind kind, double std)
    : config_(config), kind_(kind), F_(config.expert_width(kind)) {
  if (kind == FeedForwardKind::kDense) {
    shared_ = add_experts(store, prefix, ParamRole::kSharedExperts, {prefix}, std);
    return;
  }
  const std::int64_t E = config.n_routed_experts;
  gate_ =
      &add_matrix(store, prefix + "gate.weight", ParamRole::kRouter, E, config.hidden_size, std);
  if (kind == FeedForwardKind::kHashMoe) {
    table_ = &store.add_buffer(prefix + "gate.tid2eid",
                               {config.vocab_size, config.num_experts_per_tok}, DType::kI32);
  } else {
    bias_ = &store.add_buffer(prefix + "gate.bias", {E}, DType::kF32);
  }
  std::vector<std::string> routed;
  for (std::int64_t e = 0; e < E; ++e) {
    routed.push_back(prefix + "experts." + std::to_string(e) + ".");
  }
  routed_ = add_experts(store, prefix + "experts.", ParamRole::kExperts, routed, std);
  if (config.n_shared_experts > 0) {
    const std::string shared = prefix + "shared_experts.";
    shared_ = add_experts(store, shared, ParamRole::kSharedExperts, {shared}, std);
  }
}

Routes MoeLayer::shapes_of_routes(std::int64_t N) const {
  Routes routes;
  if (kind_ != FeedForwardKind::kDense) {
    routes.ids = {nullptr, {N, config_.num_experts_per_tok}, DType::kI32, kConstant};
    routes.load = {nullptr, {config_.n_routed_experts}, DType::kI64, kConstant};
  }
  routes.clamped = {nullptr, {kClampWords}, DType::kI64, kConstant};
  return routes;
}

// Here, all experts work side by side. Elsewhere, the shared one works here meanwhile; it comes
// first on the tape, so that sums of gradients have the same order either way.
Mixture MoeLayer::mix(Tape& tape, const ExpertRows& rows, const Dispatch* dispatch) const {
  const auto limit = static_cast<float>(config_.swiglu_limit);
  const ExpertWeights shared = shared_.weights();
  if (dispatch == nullptr) {
    return experts(tape, rows.x, rows.gates, rows.ids, routed_.weights(), shared, limit,
                   rows.valid);
  }
  Mixture here;
  if (shared) here = experts(tape, rows.x, {}, {}, {}, shared, limit, rows.valid);
  const ExpertRows sent = dispatch->send(tape, rows);
  Mixture there =
      experts(tape, sent.x, sent.gates, sent.ids, routed_.weights(), {}, limit, sent.valid);
  there.y = dispatch->combine(tape, there.y, sent);
  if (!shared) return there;
  if (!tape.is_dry()) {
    ClampCount sum = clamp_count(there.clamped);
    sum += clamp_count(here.clamped);
    std::memcpy(there.clamped.data, &sum, sizeof(sum));
  }
  return {add(tape, there.y, here.y), there.clamped};
}

MoeLayer::Result MoeLayer::forward(Tape& tape, Tensor x_NC, Tensor tokens,
                                   const BatchTensors& batch, const RoutePlan& plan) const {
  if (kind_ == FeedForwardKind::kDense) {
    const Mixture dense = mix(tape, {x_NC, {}, {}, batch.valid, {}}, nullptr);
    return {dense.y, {}, {{}, {}, dense.clamped}};
  }
  const RouterFunction function = function_of(config_.scoring_func);
  const Tensor logits_NE = linear(tape, x_NC, gate_->weight());
  const Tensor scores_NE = router_scores(tape, logits_NE, function);
  const Tensor ids_NK =
      plan.ids ? plan.ids
      : table_ ? look_up_experts(tape, table_->value, tokens)
               : choose_experts(tape, scores_NE, bias_->value, config_.num_experts_per_tok);
  const Gates gates = weigh_experts(tape, logits_NE, scores_NE, ids_NK, batch.valid, batch.B,
                                    {function, static_cast<float>(config_.routed_scaling_factor),
                                     config_.norm_topk_prob, has_balance()});
  const Mixture mixed = mix(tape, {x_NC, gates.gates, ids_NK, batch.valid, {}}, plan.dispatch);
  return {mixed.y, gates.balance, {ids_NK, gates.load, mixed.clamped}, logits_NE, scores_NE};
}

}  // namespace shoal

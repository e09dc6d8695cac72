#include "layers/residual/streams.h"

#include <algorithm>

#include "autograd/ops/elementwise.h"

namespace shoal {
namespace {

// Initial b (spec 4.2, 4.5). mHC: C = 1, mixing near the identity, reads of half of each stream.
// Unconstrained: exactly a pre-norm residual on equal streams.
void fill_base(const MixingShape& shape, double diagonal, float* b) {
  const std::int64_t n = shape.streams;
  std::fill_n(b, shape.columns(), 0.0F);
  if (shape.kind == Mixing::kHead) return;
  const bool raw = shape.kind == Mixing::kHyper;
  for (std::int64_t j = 0; j < n; ++j) {
    if (raw) {
      b[j] = 1.0F / static_cast<float>(n);
      b[n + j] = 1.0F;
    }
    b[2 * n + j * n + j] = raw ? 1.0F : static_cast<float>(diagonal);
  }
}

struct Mixer {
  ModelParam *fn, *base, *scale;
};

Mixer add_mixer(ParamStore& store, const std::string& name, const ModelConfig& config,
                const MixingShape& shape) {
  const std::int64_t n = shape.streams, J = shape.columns();
  const bool head = shape.kind == Mixing::kHead;
  const auto scale = static_cast<float>(config.init.hc_scale);
  Mixer m{};
  m.fn = &store.add(
      {.name = name + "_fn",
       .shape = {J, n * config.hidden_size},
       .role = ParamRole::kMixing,
       .std = config.init.hc_std,
       .row_blocks = head ? std::vector<std::int64_t>{n} : std::vector<std::int64_t>{n, n, n * n}});
  m.base = &store.add({.name = name + "_base",
                       .shape = {J},
                       .role = ParamRole::kMixing,
                       .matrix = false,
                       .decay = false,
                       .fill = [shape, diagonal = config.init.hc_res_diagonal](float* b) {
                         fill_base(shape, diagonal, b);
                       }});
  const std::int64_t scales = head ? 1 : 3;
  m.scale = &store.add({.name = name + "_scale",
                        .shape = {scales},
                        .role = ParamRole::kMixing,
                        .matrix = false,
                        .decay = false,
                        .fill = [scales, scale](float* a) { std::fill_n(a, scales, scale); }});
  return m;
}

}  // namespace

Residual::Residual(ParamStore& store, const std::string& name, const ModelConfig& config)
    : shape_{config.residual == ResidualKind::kHyper ? Mixing::kHyper : Mixing::kManifold,
             streams(config), config.hc_sinkhorn_iters, static_cast<float>(config.hc_eps)},
      norm_eps_(static_cast<float>(config.rms_norm_eps)) {
  if (config.residual == ResidualKind::kPlain) return;
  const Mixer m = add_mixer(store, name, config, shape_);
  fn_ = m.fn;
  base_ = m.base;
  scale_ = m.scale;
}

StreamMix Residual::collapse(Tape& tape, Tensor X) const {
  if (fn_ == nullptr) return {reshape(X, {X.shape[0], X.shape[2]}), {}, {}};
  return hc_collapse(tape, X, fn_->weight(), base_->weight(), scale_->weight(), shape_, norm_eps_);
}

Tensor Residual::expand(Tape& tape, Tensor X, Tensor out, const StreamMix& mix) const {
  if (fn_ == nullptr) return add(tape, X, reshape(out, X.shape));
  return hc_expand(tape, X, out, mix.post, mix.comb);
}

StreamStep Residual::expand_into(Tape& tape, Tensor X, Tensor out, const StreamMix& mix,
                                 const Residual& next) const {
  if (fn_ == nullptr) {
    X = expand(tape, X, out, mix);
    return {X, next.collapse(tape, X)};
  }
  return hc_expand_collapse(tape, X, out, mix.post, mix.comb, next.fn_->weight(),
                            next.base_->weight(), next.scale_->weight(), next.shape_,
                            next.norm_eps_);
}

ResidualHead::ResidualHead(ParamStore& store, const std::string& name, const ModelConfig& config)
    : shape_{Mixing::kHead, Residual::streams(config), config.hc_sinkhorn_iters,
             static_cast<float>(config.hc_eps)},
      norm_eps_(static_cast<float>(config.rms_norm_eps)) {
  if (config.residual == ResidualKind::kPlain) return;
  const Mixer m = add_mixer(store, name, config, shape_);
  fn_ = m.fn;
  base_ = m.base;
  scale_ = m.scale;
}

Tensor ResidualHead::forward(Tape& tape, Tensor X) const {
  if (fn_ == nullptr) return reshape(X, {X.shape[0], X.shape[2]});
  return hc_collapse(tape, X, fn_->weight(), base_->weight(), scale_->weight(), shape_, norm_eps_)
      .read;
}

}  // namespace shoal

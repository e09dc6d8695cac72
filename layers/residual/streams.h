#pragma once
#include "autograd/ops/hyper_connection.h"
#include "layers/config.h"
#include "layers/params.h"

namespace shoal {

// How sublayers read from and write to the residual: mHC (spec 4.1), unconstrained
// hyper-connections (4.5), or the plain sum. One interface; the config chooses.
class Residual {
 public:
  // One sublayer's connection; `name` is "layers.3.hc_attn" (the published names begin so).
  Residual(ParamStore& store, const std::string& name, const ModelConfig& config);

  // X [N, n, C] -> what the sublayer reads, [N, C], and how its output will be written.
  StreamMix collapse(Tape& tape, Tensor X) const;
  // X and the sublayer's output [N, C] -> the next X.
  Tensor expand(Tape& tape, Tensor X, Tensor out, const StreamMix& mix) const;
  // expand(), and collapse() of the sublayer that comes next: same bits, less memory traffic.
  StreamStep expand_into(Tape& tape, Tensor X, Tensor out, const StreamMix& mix,
                         const Residual& next) const;

  static std::int64_t streams(const ModelConfig& config) {
    return config.residual == ResidualKind::kPlain ? 1 : config.hc_mult;
  }

 private:
  MixingShape shape_;
  float norm_eps_;
  ModelParam *fn_ = nullptr, *base_ = nullptr, *scale_ = nullptr;  // null: plain
};

// The streams' collapse before the final norm; a plain residual has one stream and needs none.
class ResidualHead {
 public:
  // name: "hc_head" or "mtp.0.hc_head"
  ResidualHead(ParamStore& store, const std::string& name, const ModelConfig& config);
  Tensor forward(Tape& tape, Tensor X) const;  // [N, n, C] -> [N, C]

 private:
  MixingShape shape_;
  float norm_eps_;
  ModelParam *fn_ = nullptr, *base_ = nullptr, *scale_ = nullptr;
};

// X with its streams folded into rows, for ops that take each stream alone; no copy.
inline Tensor reshape(Tensor x, Shape shape) {
  CHECK(x.shape.numel() == shape.numel(), "reshape: ", x.shape, " to ", shape);
  x.shape = shape;
  return x;
}

}  // namespace shoal

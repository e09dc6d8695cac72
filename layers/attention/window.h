#pragma once
#include "autograd/kernels/rope.h"
#include "layers/batch_tensors.h"
#include "layers/config.h"
#include "layers/params.h"

namespace shoal {

// A sliding-window attention sublayer (spec 2.1, 2.2, 2.5, 2.7, 2.8): x [N, C] -> [N, C].
class WindowAttentionLayer {
 public:
  // prefix: "layers.3.attn."
  WindowAttentionLayer(ParamStore& store, const std::string& prefix, const ModelConfig& config,
                       double std);
  Tensor forward(Tape& tape, Tensor x_NC, const BatchTensors& batch, RopeTable rope) const;

 private:
  const ModelConfig& config_;
  ModelParam &wq_a_, &q_norm_, &wq_b_, &wkv_, &kv_norm_, &sink_, &wo_a_, &wo_b_;
};

}  // namespace shoal

#include "layers/attention/indexer.h"

#include "autograd/ops/hadamard_fp4.h"
#include "autograd/ops/head_rope.h"
#include "autograd/ops/linear.h"
#include "layers/norm.h"

namespace shoal {

Indexer::Indexer(ParamStore& store, const std::string& prefix, const ModelConfig& config,
                 double std)
    : width_(config.index_head_dim),
      wq_b_(add_matrix(store, prefix + "wq_b.weight", ParamRole::kIndexer,
                       config.index_n_heads * config.index_head_dim, config.q_lora_rank, std)),
      weights_proj_(add_matrix(store, prefix + "weights_proj.weight", ParamRole::kIndexer,
                               config.index_n_heads, config.hidden_size, std)),
      compressor_(store, prefix + "compressor.", config, config.index_head_dim,
                  config.compress_rate_csa, true, std) {}

Tensor Indexer::queries(Tape& tape, Tensor latent, Tensor position, RopeTable rope,
                        bool fp4) const {
  const Tensor q = head_rope(tape, linear(tape, latent, wq_b_.weight()), width_, rope, position);
  return fp4 ? hadamard_fp4(tape, q, width_) : q;
}

Tensor Indexer::weights(Tape& tape, Tensor x_NC) const {
  return linear(tape, x_NC, weights_proj_.weight());
}

}  // namespace shoal

#pragma once
#include "autograd/ops/indexer.h"
#include "layers/attention/compressor.h"

namespace shoal {

// The lightning indexer of a CSA layer (spec 2.6, 3): which compressed entries a query looks at.
// Its inputs are detached: only the KL loss moves its parameters, and the loss moves nothing else.
class Indexer {
 public:
  // prefix: "layers.3.attn.indexer."
  Indexer(ParamStore& store, const std::string& prefix, const ModelConfig& config, double std);

  // q [N, H*D] and head weights [N, H] of queries, from the attention's query latent and x.
  // `fp4`: both q and keys after Hadamard and rounding.
  Tensor queries(Tape& tape, Tensor latent, Tensor position, RopeTable rope, bool fp4) const;
  Tensor weights(Tape& tape, Tensor x_NC) const;
  const Compressor& compressor() const { return compressor_; }
  static EntryRounding rounding(bool fp4) {
    return fp4 ? EntryRounding::kFp4 : EntryRounding::kNone;
  }

 private:
  std::int64_t width_;
  ModelParam &wq_b_, &weights_proj_;
  Compressor compressor_;
};

}  // namespace shoal

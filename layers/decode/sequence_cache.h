#pragma once
#include <vector>

#include "layers/decode/layer_cache.h"
#include "layers/model.h"

namespace shoal {

// What a model remembers of a sequence that it reads in pieces. It grows by the compressed entries
// (and by full attention's rows) alone; the rest has a fixed size.
class SequenceCache {
 public:
  // Memory for `most_tokens` is set aside; more may come, at the price of moving it. `mode` says
  // how CSA layers attend, and whether the indexers' keys are kept.
  SequenceCache(const Model& model, IndexerMode mode, std::int64_t most_tokens);

  std::int64_t length() const { return length_; }  // tokens read so far
  std::size_t bytes() const;                       // that it holds for them
  // See LayerCache::pretend.
  void pretend(Tape& tape, std::int64_t tokens, std::uint64_t seed);

  LayerCache& layer(std::size_t l) { return layers_[l]; }
  void advance(std::int64_t tokens) { length_ += tokens; }

 private:
  std::int64_t length_ = 0;
  std::vector<LayerCache> layers_;
};

// Bytes of caches without compression for as many tokens: the raw KV row of every token in every
// layer (the one head that this model's queries share), and a key and a value for each query head.
std::size_t raw_cache_bytes(const ModelConfig& config, std::int64_t tokens);
std::size_t multi_head_cache_bytes(const ModelConfig& config, std::int64_t tokens);

}  // namespace shoal

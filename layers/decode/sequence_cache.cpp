#include "layers/decode/sequence_cache.h"

namespace shoal {

SequenceCache::SequenceCache(const Model& model, IndexerMode mode, std::int64_t most_tokens) {
  layers_.reserve(model.blocks().size());
  for (const Block& block : model.blocks()) {
    const bool chooses = block.attention().indexer() != nullptr && mode == IndexerMode::kSparse;
    layers_.emplace_back(block.attention(), model.config(), chooses, model.precision(),
                         most_tokens);
  }
}

std::size_t SequenceCache::bytes() const {
  std::size_t bytes = 0;
  for (const LayerCache& layer : layers_) bytes += layer.bytes();
  return bytes;
}

void SequenceCache::pretend(Tape& tape, std::int64_t tokens, std::uint64_t seed) {
  const NoGrad off(tape);
  for (std::size_t l = 0; l < layers_.size(); ++l) layers_[l].pretend(tape, tokens, seed + l);
  length_ += tokens;
}

std::size_t raw_cache_bytes(const ModelConfig& config, std::int64_t tokens) {
  return sizeof(float) *
         static_cast<std::size_t>(config.num_hidden_layers * config.head_dim * tokens);
}

std::size_t multi_head_cache_bytes(const ModelConfig& config, std::int64_t tokens) {
  return 2 * static_cast<std::size_t>(config.num_attention_heads) * raw_cache_bytes(config, tokens);
}

}  // namespace shoal

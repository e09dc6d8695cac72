#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "layers/model.h"

namespace shoal {

inline constexpr std::uint64_t kShardBytes = 5'000'000'000;

struct Exported {
  std::string folder;  // absolute
  std::int64_t tensors = 0;
  std::uint64_t bytes = 0;  // of tensors
  std::vector<std::string> weight_files;
  std::vector<std::string> warnings;
};

// Writes a Hugging Face model folder, as a whole or not at all: config.json in transformers' keys,
// generation_config.json, float32 weights under DeepSeek's names (which transformers loads), and
// with `byte_tokenizer` tokenizer.json and tokenizer_config.json. Weights of more than
// `shard_bytes` become shards of at most that, a larger tensor a shard of its own, and an index.
// Equal models give equal bytes. `fp4`: routed experts packed (interop/packed_experts.h), which
// transformers does not read. Error(kUsage): the folder is there and not empty; Error(kDisk).
Exported export_model(Model& model, const std::string& folder, bool byte_tokenizer,
                      std::uint64_t shard_bytes = kShardBytes, bool fp4 = false);

}  // namespace shoal

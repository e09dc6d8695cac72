#pragma once
#include <cstdint>
#include <map>
#include <string>

namespace shoal {

inline constexpr const char* kWeightsName = "model.safetensors";
inline constexpr const char* kIndexName = "model.safetensors.index.json";

// Which file of a model folder holds which tensor, where there are several.
struct WeightIndex {
  std::map<std::string, std::string> file_of;  // tensor -> plain name of a .safetensors file
  std::int64_t total_bytes = 0;                // of all tensors; 0: the file does not say
};

// An object with "weight_map", an object of names; other keys but metadata.total_size mean nothing
// here. File names have no folder in them. Anything else is an Error(kData) that begins with
// `where`.
WeightIndex parse_weight_index(const std::string& text, const std::string& where);
WeightIndex read_weight_index(const std::string& path);
std::string weight_index_text(const WeightIndex& index);

// model-00002-of-00005.safetensors
std::string shard_name(std::int64_t number, std::int64_t count);

}  // namespace shoal

#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "layers/config.h"

namespace shoal {

// What a config.json calls itself: a model that transformers computes, or one that only Shoal does.
// Other programs refuse a model type that they do not know; a wrong number is never refused.
inline constexpr const char* kTransformersModelType = "deepseek_v4";
inline constexpr const char* kOwnModelType = "shoal";

// A Hugging Face config.json of a DeepSeek-V4 model, with transformers' names (layer_types,
// rope_parameters, compress_rates) or the ones it was published with (compress_ratios,
// num_hash_layers, rope_scaling, compress_rope_theta).
//
// Sizes must be there: the defaults of ModelConfig are those of a small replica. Wrong types,
// missing sizes and settings that no Shoal model has (biases, tied embeddings, another activation)
// throw Error(kData), all of them at once, each line beginning with `where`. Keys that mean nothing
// here are ignored; one line about all that are unknown is added to `warnings` (may be null).
//
// The result is not checked as a whole: finish(where) does that, and refuses layers that cannot be
// trained yet. Only then are derived members filled.
ModelConfig model_from_json(const nlohmann::json& json, const std::string& where,
                            std::vector<std::string>* warnings);

// The way back, in transformers' names, for a complete model; what only Shoal knows (residual,
// init, dense layers) is written where it differs from V4.
nlohmann::json model_to_json(const ModelConfig& model);

}  // namespace shoal

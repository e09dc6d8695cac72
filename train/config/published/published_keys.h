#pragma once
#include "train/config/document/document.h"
#include "train/config/document/problems.h"

namespace shoal {

// A `model` map may say its layers as DeepSeek's own config.json does:
//   compress_ratios: [0, 0, 4, 128, 0]   0 sliding_attention, 4 compressed_sparse_attention, 128
//                                        heavily_compressed_attention; num_hidden_layers of them
//                                        count (a last one is of the prediction block), or all
//   num_hash_layers: 3                   so many hash_moe, then moe
// They become layer_types (with compress_rates) and mlp_layer_types. Where those are given too,
// they win in a config.json, as in transformers; in YAML it is a problem (`strict`).
void modernise_layers(Node& model, bool strict, Problems& problems);

// The same and rope_scaling (rope_parameters.compress in older words) for `model` in YAML; each
// document by itself, so that what it says replaces what it extends.
void modernise_yaml_model(Node& root, Problems& problems);

}  // namespace shoal

#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "train/config/document/document.h"
#include "train/config/document/problems.h"
#include "train/config/run_config.h"

namespace shoal {

// The value of train.stages:
// [{from_step: 100, sequence_length: 2048, batch_tokens: 8192, micro_batch: 1}], all but from_step
// optional.
std::optional<std::vector<SizesSpec>> read_sizes(const Node& node, const std::string& key,
                                                 Problems& problems);
nlohmann::json sizes_json(const std::vector<SizesSpec>& all);

}  // namespace shoal

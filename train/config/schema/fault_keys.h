#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "train/config/document/problems.h"
#include "train/config/run_config.h"

namespace shoal {

// The list of stability.provoke: entries {kind, at_step, steps, factor}, of which the first two are
// required. A member that means nothing to its kind may say 1.
std::optional<std::vector<FaultSpec>> read_faults(const Node& node, const std::string& key,
                                                  Problems& problems);
nlohmann::json faults_json(const std::vector<FaultSpec>& faults);
nlohmann::ordered_json faults_schema();

}  // namespace shoal

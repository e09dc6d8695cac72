#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace shoal {

// A JSON value as one line of YAML. JSON is YAML already; plain words lose their quotes.
std::string yaml_text(const nlohmann::json& value);

}  // namespace shoal

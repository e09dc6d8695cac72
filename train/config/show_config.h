#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "train/config/load_config.h"
#include "train/config/run_config.h"

namespace shoal {

// Every key of a complete configuration as YAML. parse_config of it gives an equal struct: numbers
// read back to the same bits, paths are absolute, nothing is left to derive.
std::string to_yaml(const RunConfig& config);

// The same; a comment behind each value says where it comes from: default, derived, file:line, or
// the argument.
std::string to_yaml_with_origins(const LoadedConfig& loaded);

// A JSON value as one line of YAML. JSON is YAML already; plain words lose their quotes.
std::string yaml_text(const nlohmann::json& value);

struct ConfigDifference {
  std::string key;   // "optim.lr"
  std::string a, b;  // as YAML
};
// In the order of the schema; empty: the same configuration.
std::vector<ConfigDifference> config_diff(const RunConfig& a, const RunConfig& b);

// The differing keys that would alter the numbers of a training run, and so cannot change on
// resume. Where it stops (steps, tokens) counts only while the rate's decay is placed by it;
// where files lie, what is printed, saved and measured never counts.
std::vector<std::string> keys_that_change_numbers(const RunConfig& a, const RunConfig& b);

// SHA-256 in hex of all that keys_that_change_numbers compares: equal exactly where it is empty.
std::string config_hash(const RunConfig& config);

}  // namespace shoal

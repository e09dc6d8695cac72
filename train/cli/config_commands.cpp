// config show, schema, diff.
#include <iostream>
#include <nlohmann/json.hpp>

#include "train/cli/commands.h"
#include "train/config/load_config.h"
#include "train/config/published/model_json.h"
#include "train/config/schema/schema.h"
#include "train/config/schema/schema_docs.h"
#include "train/config/show_config.h"

namespace shoal {

int config_show_command(const ConfigArguments& args) {
  const LoadedConfig loaded =
      load_config_with_origins(args.config, args.overrides, {.needs_data = false});
  if (!args.json) {
    std::cout << to_yaml_with_origins(loaded);
    return 0;
  }
  nlohmann::ordered_json json;
  for (const Key& key : schema()) {
    std::string pointer = "/" + key.path;
    for (char& c : pointer) c = c == '.' ? '/' : c;
    json[nlohmann::ordered_json::json_pointer(pointer)] =
        nlohmann::ordered_json(key.value(loaded.config));
  }
  std::cout << json.dump() << '\n';
  return 0;
}

int config_schema_command(bool json, bool markdown) {
  if (json) {
    std::cout << schema_json().dump(2) << '\n';
  } else {
    std::cout << (markdown ? schema_markdown() : schema_table());
  }
  return 0;
}

int config_diff_command(const std::string& a, const std::string& b, bool json) {
  const RunConfig first = load_config(a, {}, {.needs_data = false});
  const RunConfig second = load_config(b, {}, {.needs_data = false});
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ConfigDifference& d : config_diff(first, second)) {
    if (json) {
      list.push_back({{"key", d.key}, {"a", d.a}, {"b", d.b}});
    } else {
      std::cout << d.key << ": " << d.a << " -> " << d.b << '\n';
    }
  }
  if (json) std::cout << list.dump() << '\n';
  return 0;
}

}  // namespace shoal

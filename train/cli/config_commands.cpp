// config show, schema, diff.
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "autograd/base/check.h"
#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/store.h"
#include "train/checkpoint/verify.h"
#include "train/cli/commands.h"
#include "train/config/load_config.h"
#include "train/config/published/model_json.h"
#include "train/config/schema/schema.h"
#include "train/config/schema/schema_docs.h"
#include "train/config/show_config.h"

namespace shoal {
namespace {

// Of a YAML file, of a run's folder, or of a checkpoint: that is the one it was saved with, which a
// later resume may have changed.
RunConfig config_of(const std::string& path) {
  std::error_code ignored;
  const std::string inside = path + "/config.yaml";
  if (!std::filesystem::is_directory(path, ignored)) {
    return load_config(path, {}, {.needs_data = false});
  }
  if (std::filesystem::exists(inside, ignored)) {
    return load_config(inside, {}, {.needs_data = false});
  }
  PosixIo io;
  if (!is_checkpoint_path(io, path)) {
    reject(Failure::kUsage, path,
           ": holds no configuration; name a YAML file, a run or a checkpoint");
  }
  const CheckpointStore::Stored stored = read_stored(io, path);
  return parse_config(stored.state.config, stored.report.path + " (its configuration)", {},
                      {.needs_data = false});
}

}  // namespace

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
  const RunConfig first = config_of(a), second = config_of(b);
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

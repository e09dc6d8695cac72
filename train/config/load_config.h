#pragma once
#include <string>
#include <vector>

#include "train/config/run_config.h"
#include "train/config/schema/read_keys.h"

namespace shoal {

struct ReadOptions {
  bool needs_data = false;  // the command trains: data.train and an end are required
};

struct LoadedConfig {
  RunConfig config;
  Origins origins;  // for `config show`
};

// Reads a YAML file, what it extends, and `key=value` overrides, fills what is derived and checks
// the whole. Throws Error(kUsage) with every problem, one line each:
//   file:line:col: key: what is wrong; what would be right
// `extends: other.yaml` at the top of a file is relative to that file's folder; maps merge, all
// else is replaced; at most 8 deep. Paths in the result are absolute.
RunConfig load_config(const std::string& path, const std::vector<std::string>& overrides,
                      const ReadOptions& options);
LoadedConfig load_config_with_origins(const std::string& path,
                                      const std::vector<std::string>& overrides,
                                      const ReadOptions& options);

// The same for text that stands alone (a checkpoint's configuration); `name` begins its errors.
RunConfig parse_config(const std::string& text, const std::string& name,
                       const std::vector<std::string>& overrides, const ReadOptions& options);

}  // namespace shoal

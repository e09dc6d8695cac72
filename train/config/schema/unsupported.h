#pragma once
#include <optional>
#include <string>

#include "train/config/document/document.h"

namespace shoal {

// Keys that a configuration may rightly hold and that this program cannot honour: training would
// compute something else than the file says. They are refused by name, in YAML and in a config.json
// alike. A value that asks for nothing special is not: off, float32, and in a config.json
// (`published`) any plain format, which says how its weights are stored.
//
// For a path that is no key: nothing if it is not one of these, "" where the value asks for
// nothing, else what to say.
std::optional<std::string> unsupported(const std::string& path, const Node& value, bool published);

}  // namespace shoal

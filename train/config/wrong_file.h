#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace shoal {

// What somebody named who was asked for a YAML file: "is ...; what would be right", or nothing
// where it may be one. `bytes` are the file's first ones; none: `path` is a folder.
std::optional<std::string> wrong_file(const std::string& path,
                                      std::optional<std::string_view> bytes);

}  // namespace shoal

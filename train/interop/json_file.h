#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace shoal {

// The JSON object in a file of at most 16 MB: no key twice, at most 32 levels, nothing behind it.
// Anything else is an Error(kData) with the file's name and the place.
nlohmann::json read_json_object(const std::string& path);
nlohmann::json parse_json_object(const std::string& text, const std::string& where);

}  // namespace shoal

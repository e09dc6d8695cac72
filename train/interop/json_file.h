#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace shoal {

// In memory a document takes up to a hundred times its bytes.
inline constexpr std::size_t kMostIndexBytes = std::size_t{16} << 20;  // names of many tensors
inline constexpr std::size_t kMostConfigBytes = std::size_t{1} << 20;

// The JSON object in a file of at most `most` bytes: no key twice, at most 32 levels, nothing
// behind it. Anything else is an Error(kData) with the file's name and the place.
nlohmann::json read_json_object(const std::string& path, std::size_t most = kMostIndexBytes);
nlohmann::json parse_json_object(const std::string& text, const std::string& where);

}  // namespace shoal

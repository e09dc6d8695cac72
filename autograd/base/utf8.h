#pragma once
#include <cstddef>
#include <string_view>

namespace shoal {

inline constexpr std::size_t kValidUtf8 = static_cast<std::size_t>(-1);

// Offset of the first byte that begins no valid UTF-8 character (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF), or kValidUtf8.
std::size_t find_invalid_utf8(std::string_view text);

}  // namespace shoal

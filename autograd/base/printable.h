#pragma once
#include <string>
#include <string_view>

namespace shoal {

// Text from files, made safe for a terminal and a log: control characters (C0, DEL, C1), marks
// that turn the direction of writing, line separators and bytes that are no UTF-8 become `\n`,
// `\x1b`, `\u202e`. Everything else stays as it is.
std::string printable(std::string_view text);

// The same, but line feeds and tabs stay: for whole messages and for texts of several lines.
std::string printable_lines(std::string_view text);

}  // namespace shoal

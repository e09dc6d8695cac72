#pragma once
#include <string>
#include <string_view>

namespace shoal {

// Text from a run, made safe as the content of an element or a quoted attribute, in HTML and SVG:
// the five special characters become entities, control characters are shown as printable_lines
// shows them.
std::string html_text(std::string_view text);

}  // namespace shoal

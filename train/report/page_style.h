#pragma once
#include <string>

namespace shoal {

// The style sheet of report.html without that of its charts.
std::string page_style();

}  // namespace shoal

#pragma once
#include <string>
#include <vector>

namespace shoal {

// Paths as short as they still differ: the last part, with as many before it as it takes. Paths
// that are equal get a number: a.txt, a.txt (2).
std::vector<std::string> short_names(const std::vector<std::string>& paths);

}  // namespace shoal

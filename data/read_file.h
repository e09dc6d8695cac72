#pragma once
#include <string>

namespace shoal {

// The whole of a regular file. Throws Error(kData) that names the file and the reason.
std::string read_file(const std::string& path);

}  // namespace shoal

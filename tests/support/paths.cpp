#include "tests/support/paths.h"

namespace shoal {

std::string source_folder() { return SHOAL_SOURCE_DIR; }
std::string golden_folder() { return source_folder() + "/tests/golden"; }
std::string program_file() { return SHOAL_PROGRAM; }

}  // namespace shoal

#pragma once
#include <string>

namespace shoal {

std::string source_folder();  // of this tree, without a slash at its end
std::string golden_folder();  // tests/golden
std::string program_file();   // build/PRESET/shoal

}  // namespace shoal

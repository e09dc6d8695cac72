#pragma once
#include <string>

namespace shoal {

// The MPI library this program was built with, or "none". Asks without starting it.
std::string mpi_version();

}  // namespace shoal

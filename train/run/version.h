#pragma once
#include <string>

namespace shoal {

std::string program_version();  // "shoal 0.1.0"
// Compiler, processor features in use, BLAS, MPI, HDF5: a line each.
std::string version_details();
// What decides the bits of a result beside the program: kept in checkpoints, "x86-64-v3".
std::string cpu_features();

}  // namespace shoal

#pragma once
#include <string>

namespace shoal {

std::string program_version();  // "shoal 0.1.0"
// The commit that the program was built from, with "-dirty" behind it where files had been edited;
// "unknown" outside of a repository, and of a program that uses the library.
const std::string& build_commit();
void set_build_commit(const std::string& commit);
std::string compiler();  // "GNU 12.2.0"
// Commit, compiler, processor features in use, BLAS, MPI, HDF5: a line each.
std::string version_details();
// What decides the bits of a result beside the program: kept in checkpoints, "x86-64-v3".
std::string cpu_features();

}  // namespace shoal

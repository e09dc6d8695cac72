#pragma once
#include <string>

namespace shoal {

// The OpenBLAS that was loaded: version and build, kernel set, kind of threads.
std::string blas_description();

// Error(kUsage) unless the loaded OpenBLAS takes its threads from OpenMP or has none: the pthread
// build, Debian's default, runs a second set of threads beside ours, and inside a parallel region
// every call of it would use all of them.
void require_openmp_blas();

}  // namespace shoal

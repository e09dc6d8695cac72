#pragma once
#include <string>
#include <string_view>

namespace shoal {

// The OpenBLAS that was loaded: version and build, kernel set, kind of threads.
std::string blas_description();

// The name of its kernels, such as "Haswell".
std::string blas_kernels();
// A processor that OpenBLAS does not know gets its oldest kernels. What to do about that where
// `kernels` have narrower vectors than the processor; empty where they do not. Of x86-64 alone.
std::string advice_on_blas_kernels(std::string_view kernels, bool processor_has_avx512);
std::string advice_on_blas_kernels();  // of the OpenBLAS that was loaded, on this processor

// Error(kUsage) unless the loaded OpenBLAS takes its threads from OpenMP or has none: the pthread
// build, Debian's default, runs a second set of threads beside ours, and inside a parallel region
// every call of it would use all of them.
void require_openmp_blas();

}  // namespace shoal

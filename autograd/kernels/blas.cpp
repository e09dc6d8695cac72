#include "autograd/kernels/blas.h"

#include <cblas.h>

#include <algorithm>
#include <array>

#include "autograd/base/check.h"

namespace shoal {
namespace {

const char* parallel_kind() {
  switch (openblas_get_parallel()) {
    case OPENBLAS_SEQUENTIAL:
      return "no threads";
    case OPENBLAS_THREAD:
      return "pthreads";
    case OPENBLAS_OPENMP:
      return "OpenMP threads";
    default:
      return "unknown threads";
  }
}

// Bits of a vector in the kernels of that name (OpenBLAS 0.3, x86-64); most names are older than
// AVX2.
int vector_bits(std::string_view kernels) {
  constexpr std::array kAvx512 = {"SkylakeX", "Cooperlake", "SapphireRapids"};
  constexpr std::array kAvx2 = {"Haswell", "Zen"};
  const auto named = [&](const char* name) { return kernels == name; };
  if (std::any_of(kAvx512.begin(), kAvx512.end(), named)) return 512;
  return std::any_of(kAvx2.begin(), kAvx2.end(), named) ? 256 : 128;
}

}  // namespace

std::string blas_kernels() { return openblas_get_corename(); }

std::string advice_on_blas_kernels(std::string_view kernels, bool processor_has_avx512) {
  const int has = processor_has_avx512 ? 512 : 256;  // the program is built for AVX2
  if (vector_bits(kernels) >= has) return "";
  return concat("OpenBLAS uses its ", kernels, " kernels, though the processor has ",
                has == 512 ? "AVX-512" : "AVX2",
                ": set OPENBLAS_CORETYPE=", has == 512 ? "SkylakeX" : "Haswell",
                " in the environment");
}

std::string advice_on_blas_kernels() {
#if defined(__x86_64__)
  return advice_on_blas_kernels(blas_kernels(), __builtin_cpu_supports("avx512f") != 0 &&
                                                    __builtin_cpu_supports("avx512vl") != 0);
#else
  return "";
#endif
}

std::string blas_description() {
  return concat(openblas_get_config(), " (", blas_kernels(), " kernels, ", parallel_kind(), ')');
}

void require_openmp_blas() {
  const int kind = openblas_get_parallel();
  if (kind == OPENBLAS_OPENMP || kind == OPENBLAS_SEQUENTIAL) return;
  reject(Failure::kUsage, "OpenBLAS was loaded with ", parallel_kind(), " (", openblas_get_config(),
         "), which fight with OpenMP's: install Debian's libopenblas0-openmp and let the loader "
         "find it first");
}

}  // namespace shoal

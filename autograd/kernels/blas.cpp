#include "autograd/kernels/blas.h"

#include <cblas.h>

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

}  // namespace

std::string blas_description() {
  return concat(openblas_get_config(), " (", openblas_get_corename(), " kernels, ", parallel_kind(),
                ')');
}

void require_openmp_blas() {
  const int kind = openblas_get_parallel();
  if (kind == OPENBLAS_OPENMP || kind == OPENBLAS_SEQUENTIAL) return;
  reject(Failure::kUsage, "OpenBLAS was loaded with ", parallel_kind(), " (", openblas_get_config(),
         "), which fight with OpenMP's: install Debian's libopenblas0-openmp and let the loader "
         "find it first");
}

}  // namespace shoal

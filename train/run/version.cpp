#include "train/run/version.h"

#include <string>

#include "autograd/base/check.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/gemm.h"
#include "train/checkpoint/hdf5_image.h"
#include "train/dist/mpi_version.h"

namespace shoal {

std::string program_version() { return "shoal " SHOAL_VERSION; }

std::string cpu_features() {
#if defined(__x86_64__)
  return "x86-64-v3";
#elif defined(__aarch64__)
  return "aarch64";
#else
  return "generic";
#endif
}

std::string version_details() {
  return concat(program_version(), "\ncompiler   ", SHOAL_COMPILER, "\nprocessor  ", cpu_features(),
                ", products with ", gemm_kernel(), "\nBLAS       ", blas_description(),
                "\nMPI        ", mpi_version(), "\nHDF5       ", hdf5_version());
}

}  // namespace shoal

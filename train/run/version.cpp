#include "train/run/version.h"

#include <string>

#include "autograd/base/check.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/gemm.h"
#include "train/checkpoint/hdf5_image.h"
#include "train/dist/mpi_version.h"

namespace shoal {

std::string program_version() { return "shoal " SHOAL_VERSION; }

namespace {

std::string& commit_of_build() {
  static std::string commit = "unknown";
  return commit;
}

}  // namespace

const std::string& build_commit() { return commit_of_build(); }
void set_build_commit(const std::string& commit) { commit_of_build() = commit; }

std::string compiler() { return SHOAL_COMPILER; }

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
  return concat(program_version(), "\ncommit     ", build_commit(), "\ncompiler   ", compiler(),
                "\nprocessor  ", cpu_features(), ", products with ", gemm_kernel(), "\nBLAS       ",
                blas_description(), "\nMPI        ", mpi_version(), "\nHDF5       ",
                hdf5_version());
}

}  // namespace shoal

#include "autograd/kernels/peak.h"

#include <gtest/gtest.h>

#include "autograd/kernels/blas.h"

namespace shoal {
namespace {

TEST(Blas, TheOneBuiltAgainstIsAccepted) {
  EXPECT_NO_THROW(require_openmp_blas());
  EXPECT_NE(blas_description().find("OpenBLAS"), std::string::npos) << blas_description();
  EXPECT_EQ(blas_description().find("unknown"), std::string::npos) << blas_description();
}

TEST(Peak, IsARate) {
  const double gflops = measure_matmul_peak_gflops();
  EXPECT_GT(gflops, 0.1);
  EXPECT_LT(gflops, 1e6);
}

}  // namespace
}  // namespace shoal

#include "autograd/kernels/peak.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "autograd/base/parallel.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/gemm.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

TEST(Blas, TheOneBuiltAgainstIsAccepted) {
  EXPECT_NO_THROW(require_openmp_blas());
  EXPECT_NE(blas_description().find("OpenBLAS"), std::string::npos) << blas_description();
  EXPECT_EQ(blas_description().find("unknown"), std::string::npos) << blas_description();
}

TEST(Blas, AdviceNamesTheVariableWhereKernelsAreTooNarrow) {
  EXPECT_EQ(advice_on_blas_kernels("Haswell", false), "");
  EXPECT_EQ(advice_on_blas_kernels("Zen", false), "");
  EXPECT_EQ(advice_on_blas_kernels("SkylakeX", true), "");
  EXPECT_EQ(advice_on_blas_kernels("Cooperlake", true), "");
  EXPECT_THAT(advice_on_blas_kernels("Prescott", true), HasSubstr("OPENBLAS_CORETYPE=SkylakeX"));
  EXPECT_THAT(advice_on_blas_kernels("Haswell", true), HasSubstr("OPENBLAS_CORETYPE=SkylakeX"));
  EXPECT_THAT(advice_on_blas_kernels("Prescott", false), HasSubstr("OPENBLAS_CORETYPE=Haswell"));
  EXPECT_THAT(advice_on_blas_kernels("Sandybridge", false), HasSubstr("has AVX2"));
}

// Small products in many rounds, and several tries: other programs may have the cores meanwhile.
double best_product_share(ProductOf library) {
  double peak = 0.0, product = 0.0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    peak = std::max(peak, measure_peak_gflops());
    product = std::max(product, measure_product_gflops(library, 256, 50));
    peak = std::max(peak, measure_peak_gflops());
    if (product > 0.5 * peak && product < peak) break;
  }
  return product / peak;
}

TEST(Peak, NoProductExceedsItAndOursComesNear) {
  for (const int threads : {1, 2}) {
    set_thread_count(threads);
    const double share = best_product_share(ProductOf::kShoal);
    EXPECT_LT(share, 1.0) << threads << " threads";
#if defined(NDEBUG) && !defined(SHOAL_SANITIZED)
    EXPECT_GT(share, 0.5) << threads << " threads";
#endif
    EXPECT_LT(best_product_share(ProductOf::kOpenBlas), 1.0) << threads << " threads";
  }
}

// The vectors are those of the products: without AVX-512 half of what it gives.
TEST(Peak, FollowsTheWidthOfTheKernels) {
  set_thread_count(1);
  use_wide_gemm(false);
  const double share = best_product_share(ProductOf::kShoal);
  use_wide_gemm(true);
  EXPECT_LT(share, 1.0);
}

TEST(Peak, MoreThreadsThanCoresDoNotRaiseIt) {
  set_thread_count(allowed_cores());
  double peak = 0.0;
  for (int attempt = 0; attempt < 5; ++attempt) peak = std::max(peak, measure_peak_gflops());
  set_thread_count(4 * allowed_cores());
  EXPECT_LT(measure_peak_gflops(), 1.3 * peak);
  set_thread_count(allowed_cores());
}

TEST(Peak, WhoGoesFasterHasItMeasuredAgain) {
  double clock = 10.0;
  int measured = 0;
  Peak peak([&] {
    ++measured;
    return clock;
  });
  peak.measure();
  EXPECT_DOUBLE_EQ(peak.share(5e9, 1.0), 0.5);
  EXPECT_EQ(measured, 1);
  clock = 20.0;  // the processor has come out of its sleep
  EXPECT_DOUBLE_EQ(peak.share(15e9, 1.0), 0.75);
  clock = 1.0;  // another program came: the larger counts
  peak.measure();
  EXPECT_EQ(peak.gflops(), 20.0);
  EXPECT_DOUBLE_EQ(peak.share(5e9, 0.5), 0.5);
}

}  // namespace
}  // namespace shoal

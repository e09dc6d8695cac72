#include "autograd/kernels/peak.h"

#include <cblas.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

namespace shoal {
namespace {

constexpr int kSide = 1024, kRounds = 10;

// Inside a parallel region OpenBLAS uses the calling thread alone.
double product_gflops(const float* a, const float* b, float* c) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSide, kSide, kSide, 1.0F, a, kSide, b,
              kSide, 0.0F, c, kSide);
  const std::chrono::duration<double, std::nano> time = Clock::now() - begin;
  return 2.0 * kSide * kSide * kSide / time.count();
}

}  // namespace

double measure_matmul_peak_gflops() {
  // No splitting of work, so not parallel.h: every thread does the same, in rounds that begin
  // together, and the best round counts. Round 0 loads caches and buffers.
  std::array<double, kRounds> sums{};
#pragma omp parallel
  {
    constexpr std::size_t kSize = std::size_t{kSide} * kSide;
    std::vector<float> a(kSize, 1.0F), b(kSize, 0.5F), c(kSize);
    for (double& sum : sums) {
#pragma omp barrier
      const double rate = product_gflops(a.data(), b.data(), c.data());
#pragma omp atomic
      sum += rate;
    }
  }
  return *std::max_element(sums.begin() + 1, sums.end());
}

}  // namespace shoal

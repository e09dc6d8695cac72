#include "autograd/kernels/peak.h"

#include <cblas.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <numeric>
#include <string_view>
#include <vector>

#include "autograd/base/parallel.h"
#include "autograd/kernels/fma_loop.h"
#include "autograd/kernels/gemm.h"

namespace shoal {

float fma_loop_wide(std::int64_t rounds, const float* numbers);

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kWindow{1}, kLoopTime{40};
constexpr std::int64_t kRounds = 4096;  // between two looks at the clock: some microseconds

double rate(double flops, Clock::time_point begin, Clock::time_point end) {
  return flops / std::chrono::duration<double, std::nano>(end - begin).count();
}

// Every thread calls best_rate() while the others do; the sum of what they return, of more threads
// than cores that of so many.
template <class BestRate>
double sum_of_threads(const BestRate& best_rate) {
  std::vector<double> rates(static_cast<std::size_t>(thread_count()));
  on_every_thread([&] { rates[static_cast<std::size_t>(thread_number())] = best_rate(); });
  std::sort(rates.begin(), rates.end(), std::greater<>());
  const auto cores = std::min(rates.size(), static_cast<std::size_t>(allowed_cores()));
  return std::accumulate(rates.begin(), rates.begin() + static_cast<std::ptrdiff_t>(cores), 0.0);
}

// Of windows in which nobody else had this thread's core, if there are any.
double best_fma_rate() {
  const bool wide = std::string_view(gemm_kernel()) == "avx512";
  const double lanes = static_cast<double>(wide ? sizeof(V16) : sizeof(V8)) / sizeof(float);
  std::array<float, 2 + kFmaChains> numbers{0.5F, 0.25F};  // all chains tend to 0.5
  for (std::size_t i = 0; i < kFmaChains; ++i) numbers[2 + i] = 1.0F / static_cast<float>(2 + i);
  const Clock::time_point start = Clock::now();
  double best = 0.0;
  for (Clock::time_point begin = start, now = start; now < start + kLoopTime; begin = now) {
    double rounds = 0.0;
    for (; now < begin + kWindow; now = Clock::now()) {
      numbers[2] =  // so that every call is needed
          wide ? fma_loop_wide(kRounds, numbers.data()) : fma_loop<V8>(kRounds, numbers.data());
      rounds += kRounds;
    }
    best = std::max(best, rate(rounds * 2.0 * kFmaChains * lanes, begin, now));
  }
  return best;
}

double best_product_rate(ProductOf library, int side, int times) {
  const std::int64_t n = side;
  const auto size = static_cast<std::size_t>(n * n);
  const std::vector<float> a(size, 1.0F), b(size, 0.5F);
  std::vector<float> c(size);
  double best = 0.0;
  for (int i = 0; i < times; ++i) {
    const Clock::time_point begin = Clock::now();
    if (library == ProductOf::kShoal) {
      gemm_on_this_thread(gemm_input_grad(n, n, n, a.data(), b.data(), c.data(), false));
    } else {  // inside a parallel region OpenBLAS uses the calling thread alone
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, side, side, side, 1.0F, a.data(), side,
                  b.data(), side, 0.0F, c.data(), side);
    }
    best = std::max(best, rate(2.0 * static_cast<double>(n * n * n), begin, Clock::now()));
  }
  return best;
}

}  // namespace

double measure_peak_gflops() { return sum_of_threads(best_fma_rate); }

double measure_product_gflops(ProductOf library, int side, int times) {
  return sum_of_threads([=] { return best_product_rate(library, side, times); });
}

void Peak::measure() { gflops_ = std::max(gflops_, measure_()); }

double Peak::share(double flops, double seconds) {
  const double reached = flops / seconds * 1e-9;
  if (reached > gflops_) measure();
  return reached / gflops_;
}

}  // namespace shoal

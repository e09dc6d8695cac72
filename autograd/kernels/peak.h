#pragma once
#include <functional>

namespace shoal {

// What no program on this machine can exceed in single precision, in GFLOP/s: the sum over the
// threads of what each reaches, while all run, in a loop of independent fused multiply-adds held in
// registers, in the vectors of kernels/gemm. Of each thread the best of many windows of a
// millisecond, so that another program's turn on its core does not count. Takes 40 ms.
double measure_peak_gflops();

// The same of products: each thread multiplies matrices [side, side] of its own so many times.
enum class ProductOf { kShoal, kOpenBlas };
double measure_product_gflops(ProductOf library, int side = 1024, int times = 10);

// The peak to measure against. The clock may rise after it was measured, or another program end:
// who goes faster than the peak has it measured again, and the larger counts.
class Peak {
 public:
  explicit Peak(std::function<double()> measure = measure_peak_gflops)
      : measure_(std::move(measure)) {}
  double gflops() const { return gflops_; }
  void measure();
  // Of the peak, what `flops` in `seconds` are.
  double share(double flops, double seconds);

 private:
  std::function<double()> measure_;
  double gflops_ = 0.0;
};

}  // namespace shoal

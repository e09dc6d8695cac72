#include "autograd/kernels/hadamard.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/check.h"

namespace shoal {

void hadamard(const float* x, std::int64_t rows, std::int64_t D, float* y) {
  CHECK(has_hadamard(D), "hadamard: width ", D, " is no power of two");
  const float norm = 1.0F / std::sqrt(static_cast<float>(D));
  for (std::int64_t r = 0; r < rows; ++r, x += D, y += D) {
    if (y != x) std::copy_n(x, D, y);
    for (std::int64_t half = 1; half < D; half *= 2) {
      for (std::int64_t i = 0; i < D; i += 2 * half) {
        float *low = y + i, *high = low + half;
#pragma omp simd
        for (std::int64_t j = 0; j < half; ++j) {
          const float a = low[j], b = high[j];
          low[j] = a + b;
          high[j] = a - b;
        }
      }
    }
    for (std::int64_t i = 0; i < D; ++i) y[i] *= norm;
  }
}

}  // namespace shoal

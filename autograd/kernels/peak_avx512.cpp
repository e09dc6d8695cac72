// Compiled for AVX-512 on x86-64 (see CMakeLists.txt); called only where the processor has it.
#include "autograd/kernels/fma_loop.h"

namespace shoal {

float fma_loop_wide(std::int64_t rounds, const float* numbers) {
  return fma_loop<V16>(rounds, numbers);
}

}  // namespace shoal

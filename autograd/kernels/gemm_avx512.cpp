// Compiled for AVX-512 on x86-64 (see CMakeLists.txt); called only where the processor has it.
#include "autograd/kernels/gemm_block.h"

namespace shoal {

void multiply_block_wide(const Gemm& g, std::int64_t m0, std::int64_t m1, std::int64_t n0,
                         std::int64_t n1, std::int64_t k_block, float* packed_b, float* packed_a) {
  multiply_block<V16, 12>(g, m0, m1, n0, n1, k_block, packed_b, packed_a);
}

}  // namespace shoal

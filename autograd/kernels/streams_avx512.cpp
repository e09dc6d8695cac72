// Compiled for AVX-512 on x86-64 (see CMakeLists.txt); called only where the processor has it.
#include "autograd/kernels/streams_block.h"

namespace shoal {

const StreamKernels* stream_kernels_avx512() {
  static constexpr StreamKernels kKernels{"512 bits",
                                          project<V16, 4, 6>,
                                          read<V16>,
                                          expand<V16>,
                                          read_dots<V16>,
                                          collapse_backward<V16, 8>,
                                          expand_backward<V16, 24>};
  return &kKernels;
}

}  // namespace shoal

#include "autograd/kernels/streams.h"

#include <algorithm>
#include <string_view>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/streams_block.h"

namespace shoal {

std::int64_t by_terms_size(const StreamShape& s) {
  return s.J * ((s.K() + kStreamLanes - 1) / kStreamLanes * kStreamLanes);
}
std::int64_t by_panels_size(const StreamShape& s) {
  return s.n * ((s.C + kStreamPanel - 1) / kStreamPanel * kStreamPanel) * s.J;
}

void pack_by_terms(const StreamShape& s, const float* fn, float* packed) {
  const std::int64_t K = s.K();
  for (std::int64_t j0 = 0; j0 < s.J; j0 += kStreamColumns) {
    const std::int64_t columns = std::min(kStreamColumns, s.J - j0);
    for (std::int64_t k = 0; k < K; k += kStreamLanes) {
      const std::int64_t terms = std::min(kStreamLanes, K - k);
      for (std::int64_t j = j0; j < j0 + columns; ++j, packed += kStreamLanes) {
        std::copy_n(fn + j * K + k, terms, packed);
        std::fill_n(packed + terms, kStreamLanes - terms, 0.0F);
      }
    }
  }
}

void pack_by_panels(const StreamShape& s, const float* fn, float* packed) {
  for (std::int64_t stream = 0; stream < s.n; ++stream) {
    for (std::int64_t c = 0; c < s.C; c += kStreamPanel) {
      const std::int64_t columns = std::min(kStreamPanel, s.C - c);
      for (std::int64_t j = 0; j < s.J; ++j, packed += kStreamPanel) {
        std::copy_n(fn + j * s.K() + stream * s.C + c, columns, packed);
        std::fill_n(packed + columns, kStreamPanel - columns, 0.0F);
      }
    }
  }
}

const StreamKernels& stream_kernels_base() {
  static constexpr StreamKernels kKernels{"256 bits",
                                          project<V8, 2, 3>,
                                          read<V8>,
                                          expand<V8>,
                                          read_dots<V8>,
                                          collapse_backward<V8, 4>,
                                          expand_backward<V8, 12>};
  return kKernels;
}

const StreamKernels& stream_kernels() {
  const bool on = std::string_view(gemm_kernel()) == "avx512";
  const StreamKernels* wide = on ? stream_kernels_avx512() : nullptr;
  return wide != nullptr ? *wide : stream_kernels_base();
}

#if !defined(SHOAL_STREAMS_AVX512)
const StreamKernels* stream_kernels_avx512() { return nullptr; }
#endif

}  // namespace shoal

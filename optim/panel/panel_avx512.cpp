#include <cstdint>

#include "optim/panel/panel.h"

#define SHOAL_PANEL_ROWS 8  // 8 rows of 3 vectors: 24 sums in 32 registers
#define SHOAL_PANELS_WIDE 3
namespace shoal {
namespace {
constexpr int kWidth = 16;
}
#include "optim/panel/panel_kernel.h"

const PanelKernels* panel_kernels_avx512() {
  static constexpr PanelKernels kKernels{"512 bits", gram_block, times_block};
  const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  return has ? &kKernels : nullptr;
}

}  // namespace shoal

#include "optim/panel/panel.h"

#include <algorithm>

#define SHOAL_PANEL_ROWS 6   // 6 rows of 2 vectors: 12 sums in 16 registers
#define SHOAL_PANELS_WIDE 1
namespace shoal {
namespace {
constexpr int kWidth = 8;
}
#include "optim/panel/panel_kernel.h"

const PanelKernels& panel_kernels_base() {
  static constexpr PanelKernels kKernels{"256 bits", gram_block, times_block};
  return kKernels;
}

const PanelKernels& panel_kernels() {
  static const PanelKernels* widest = panel_kernels_avx512();
  return widest != nullptr ? *widest : panel_kernels_base();
}

#if !defined(SHOAL_PANEL_AVX512)
const PanelKernels* panel_kernels_avx512() { return nullptr; }
#endif

void read_panels(const float* src, std::int64_t rows, std::int64_t columns, float* panels) {
  for (std::int64_t j = 0; j < columns; j += kPanel) {
    const std::int64_t width = std::min(kPanel, columns - j);
    for (std::int64_t k = 0; k < rows; ++k, panels += kPanel) {
      std::copy_n(src + k * columns + j, width, panels);
      std::fill_n(panels + width, kPanel - width, 0.0F);
    }
  }
}

void read_panels_transposed(const float* src, std::int64_t rows, std::int64_t columns,
                            float* panels) {
  for (std::int64_t i = 0; i < rows; i += kPanel) {
    const std::int64_t width = std::min(kPanel, rows - i);
    float* panel = panels + (i / kPanel) * columns * kPanel;
    for (std::int64_t k = 0; k < columns; ++k) {
      for (std::int64_t r = 0; r < width; ++r) panel[k * kPanel + r] = src[(i + r) * columns + k];
      std::fill_n(panel + k * kPanel + width, kPanel - width, 0.0F);
    }
  }
}

}  // namespace shoal

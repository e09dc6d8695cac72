#include "optim/panel/panel.h"

#include <algorithm>

#define SHOAL_PANEL_ROWS 6  // 6 rows of 2 vectors: 12 sums in 16 registers
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

void strip_to_panels(const PanelShape& shape, std::int64_t row0, std::int64_t row1,
                     const float* strip, float* panels) {
  const std::int64_t columns = shape.columns;
  if (shape.transposed) {
    for (std::int64_t i = row0; i < row1; i += kPanel) {
      const std::int64_t width = std::min(kPanel, row1 - i);
      const float* from = strip + (i - row0) * columns;
      float* panel = panels + i * columns;
      for (std::int64_t k = 0; k < columns; ++k) {
        for (std::int64_t r = 0; r < width; ++r) panel[k * kPanel + r] = from[r * columns + k];
        std::fill_n(panel + k * kPanel + width, kPanel - width, 0.0F);
      }
    }
    return;
  }
  for (std::int64_t j = 0; j < columns; j += kPanel) {
    const std::int64_t width = std::min(kPanel, columns - j);
    float* panel = panels + j * shape.rows;
    for (std::int64_t k = row0; k < row1; ++k) {
      std::copy_n(strip + (k - row0) * columns + j, width, panel + k * kPanel);
      std::fill_n(panel + k * kPanel + width, kPanel - width, 0.0F);
    }
  }
}

void panels_to_strip(const PanelShape& shape, std::int64_t row0, std::int64_t row1,
                     const float* panels, float* strip) {
  const std::int64_t columns = shape.columns;
  if (shape.transposed) {
    for (std::int64_t i = row0; i < row1; ++i) {
      const float* from = panels + (i / kPanel) * kPanel * columns + i % kPanel;
      float* to = strip + (i - row0) * columns;
      for (std::int64_t k = 0; k < columns; ++k) to[k] = from[k * kPanel];
    }
    return;
  }
  for (std::int64_t j = 0; j < columns; j += kPanel) {
    const std::int64_t width = std::min(kPanel, columns - j);
    const float* panel = panels + j * shape.rows;
    for (std::int64_t k = row0; k < row1; ++k) {
      std::copy_n(panel + k * kPanel, width, strip + (k - row0) * columns + j);
    }
  }
}

}  // namespace shoal

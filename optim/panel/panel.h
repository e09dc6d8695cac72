#pragma once
#include <cstddef>
#include <cstdint>

namespace shoal {

// Newton-Schulz's own products. A matrix X [K, n] lies in panels of 16 columns: element (k, j) at
// panel j / 16, row k, place j % 16, so a panel is [K, 16]; columns past n are zero. In this layout
// both operands of X^T X and of X P are read as they lie: nothing is ever packed again.
//
// Every element of a product is one chain of fused multiply-adds over the summed index, from the
// first to the last, whatever block or vector width computes it. So how the blocks of a product are
// cut, and who runs which, changes no bit, and X^T X is symmetric to the bit.
inline constexpr std::int64_t kPanel = 16;
inline constexpr std::int64_t kGramBlock = 96;   // rows and columns of a block of X^T X
inline constexpr std::int64_t kTimesBlock = 48;  // rows of a block of X P

// Static: a copy compiled for a wider processor must not become everybody's.
static inline std::int64_t panel_count(std::int64_t columns) {
  return (columns + kPanel - 1) / kPanel;
}
static inline std::int64_t panel_floats(std::int64_t rows, std::int64_t columns) {
  return panel_count(columns) * rows * kPanel;
}
static inline std::int64_t gram_block_count(std::int64_t n) {  // blocks of the lower triangle
  const std::int64_t side = (n + kGramBlock - 1) / kGramBlock;
  return side * (side + 1) / 2;
}
static inline std::int64_t times_block_count(std::int64_t rows) {
  return (rows + kTimesBlock - 1) / kTimesBlock;
}

// C = scale (X^T X + ratio S) + diagonal I:  X [K, n], S and C [n, n], all in panels.
// S must be symmetric; null leaves it out. C must not overlap X or S.
struct GramProduct {
  const float* x;
  std::int64_t K, n;
  const float* s = nullptr;
  float ratio = 0.0F, scale = 1.0F, diagonal = 0.0F;
  float* c;
};
// Y = X P:  X and Y [m, n], P [n, n], in panels.
struct TimesProduct {
  const float* x;
  std::int64_t m, n;
  const float* p;
  float* y;
};

// The same arithmetic, compiled for two vector widths.
struct PanelKernels {
  const char* name;
  // Block 0 .. gram_block_count(n) - 1 of C, and its mirror image above the diagonal.
  void (*gram_block)(const GramProduct& product, std::int64_t block);
  // Rows of block 0 .. times_block_count(m) - 1 of Y.
  void (*times_block)(const TimesProduct& product, std::int64_t block);
};
const PanelKernels& panel_kernels();         // the widest this processor has
const PanelKernels& panel_kernels_base();    // what every supported processor has
const PanelKernels* panel_kernels_avx512();  // null where not built or not supported

// Rows row0 .. row1-1 of a matrix [rows, columns], row-major in `strip` ([row1 - row0, columns]),
// into panels of the matrix, or of its transpose ([columns, rows]; then row0 is a multiple of 16).
// The padding of every panel touched is set to zero.
struct PanelShape {
  std::int64_t rows, columns;  // of the matrix
  bool transposed;             // the panels hold [columns, rows]
};
void strip_to_panels(const PanelShape& shape, std::int64_t row0, std::int64_t row1,
                     const float* strip, float* panels);
void panels_to_strip(const PanelShape& shape, std::int64_t row0, std::int64_t row1,
                     const float* panels, float* strip);

}  // namespace shoal

#include "optim/polar_work.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace shoal {
namespace {

struct Polynomial {
  float a, b, c;  // Y <- (a I + b Y Y^T + c (Y Y^T)^2) Y
};
constexpr Polynomial kFast{3.4445F, -4.7750F, 2.0315F};  // lifts small singular values quickly
constexpr Polynomial kExact{2.0F, -1.5F, 0.5F};          // and this one pulls all of them to 1
constexpr int kFastSteps = 8;

// Rows that are loaded, summed and stored at a time: whole panels, and enough work for a task.
std::int64_t strip_rows(std::int64_t columns) {
  return std::max(kPanel, 4096 / columns / kPanel * kPanel);
}
std::int64_t strip_count(MatrixSize size) {
  const std::int64_t step = strip_rows(size.columns);
  return (size.rows + step - 1) / step;
}
std::int64_t strip_end(const PolarWork& w, std::int64_t strip) {
  return std::min(w.rows, (strip + 1) * strip_rows(w.columns));
}

constexpr std::int64_t kScaleFloats = 32768;

PanelShape shape_of(const PolarWork& w) { return {w.rows, w.columns, w.rows <= w.columns}; }

}  // namespace

std::int64_t PolarWork::float_count(MatrixSize size) {
  const std::int64_t n = std::min(size.rows, size.columns), m = std::max(size.rows, size.columns);
  const std::int64_t sums = (2 * strip_count(size) + 15) / 16 * 16;  // doubles, in whole lines
  return 2 * panel_floats(m, n) + 2 * panel_floats(n, n) + sums;
}

double PolarWork::flops(MatrixSize size) {
  const double n = static_cast<double>(std::min(size.rows, size.columns));
  const double m = static_cast<double>(std::max(size.rows, size.columns));
  return kSteps * 2.0 * n * n * (2.0 * m + n);
}

PolarWork::PolarWork(std::int64_t matrix_number, MatrixSize size, float* memory)
    : matrix(matrix_number),
      rows(size.rows),
      columns(size.columns),
      m(std::max(size.rows, size.columns)),
      n(std::min(size.rows, size.columns)),
      x(memory),
      y(x + panel_floats(m, n)),
      square(y + panel_floats(m, n)),
      polynomials(square + panel_floats(n, n)),
      squares(reinterpret_cast<double*>(polynomials + panel_floats(n, n))) {}

std::int64_t PolarWork::strips() const { return strip_count({rows, columns}); }
std::int64_t PolarWork::scales() const {
  return (panel_floats(m, n) + kScaleFloats - 1) / kScaleFloats;
}

void PolarWork::load(MatrixRows& matrices, std::int64_t strip) const {
  const std::int64_t row0 = strip * strip_rows(columns), row1 = strip_end(*this, strip);
  float* in_rows = y + row0 * columns;  // free until the first product
  matrices.load(matrix, row0, row1, in_rows);
  double sum = 0.0;
  const std::int64_t count = (row1 - row0) * columns;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) {
    sum += static_cast<double>(in_rows[i]) * static_cast<double>(in_rows[i]);
  }
  squares[strip] = sum;
  strip_to_panels(shape_of(*this), row0, row1, in_rows, x);
  if (strip == 0) {  // columns past n above the diagonal: no product writes them
    const std::int64_t last = (panel_count(n) - 1) * n * kPanel;
    std::fill_n(square + last, n * kPanel, 0.0F);
    std::fill_n(polynomials + last, n * kPanel, 0.0F);
  }
}

void PolarWork::scale(std::int64_t block) const {
  const double norm = std::sqrt(std::accumulate(squares, squares + strips(), 0.0));
  const double inverse = norm > 0.0 ? 1.0 / norm : 0.0;  // in double: |Z| may be below 1e-38
  const std::int64_t begin = block * kScaleFloats;
  const std::int64_t end = std::min(panel_floats(m, n), begin + kScaleFloats);
  float* values = x;
#pragma omp simd
  for (std::int64_t i = begin; i < end; ++i) {
    values[i] = static_cast<float>(static_cast<double>(values[i]) * inverse);
  }
}

void PolarWork::gram(std::int64_t block) const {
  panel_kernels().gram_block({.x = x, .K = m, .n = n, .c = square}, block);
}

void PolarWork::polynomial(int step, std::int64_t block) const {
  const Polynomial& p = step < kFastSteps ? kFast : kExact;
  panel_kernels().gram_block({.x = square,
                              .K = n,
                              .n = n,
                              .s = square,
                              .ratio = p.b / p.c,
                              .scale = p.c,
                              .diagonal = p.a,
                              .c = polynomials},
                             block);
}

void PolarWork::times(std::int64_t block) const {
  panel_kernels().times_block({.x = x, .m = m, .n = n, .p = polynomials, .y = y}, block);
}

void PolarWork::swap() { std::swap(x, y); }

void PolarWork::store(MatrixRows& matrices, std::int64_t strip) const {
  const std::int64_t row0 = strip * strip_rows(columns), row1 = strip_end(*this, strip);
  float* out_rows = y + row0 * columns;
  panels_to_strip(shape_of(*this), row0, row1, x, out_rows);
  matrices.store(matrix, row0, row1, out_rows);
}

}  // namespace shoal

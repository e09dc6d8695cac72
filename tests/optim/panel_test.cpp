#include "optim/panel/panel.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/optim/testing.h"

namespace shoal {
namespace {

using testing::MatrixD;
using testing::MatrixF;

std::vector<float> panels_of(const MatrixF& x) {
  std::vector<float> panels(static_cast<std::size_t>(panel_floats(x.rows(), x.cols())), NAN);
  strip_to_panels({x.rows(), x.cols(), false}, 0, x.rows(), x.data(), panels.data());
  return panels;
}
MatrixF matrix_of(const std::vector<float>& panels, std::int64_t rows, std::int64_t columns) {
  MatrixF x(rows, columns);
  panels_to_strip({rows, columns, false}, 0, rows, panels.data(), x.data());
  return x;
}

struct Products {
  MatrixF gram, polynomial, times;
};
Products products(const PanelKernels& kernels, const MatrixF& x) {
  const std::int64_t m = x.rows(), n = x.cols();
  const std::vector<float> panels = panels_of(x);
  std::vector<float> gram(static_cast<std::size_t>(panel_floats(n, n))), polynomial(gram);
  std::vector<float> times(panels.size(), NAN);
  for (std::int64_t i = 0; i < gram_block_count(n); ++i) {
    kernels.gram_block({.x = panels.data(), .K = m, .n = n, .c = gram.data()}, i);
  }
  for (std::int64_t i = 0; i < gram_block_count(n); ++i) {
    kernels.gram_block({.x = gram.data(),
                        .K = n,
                        .n = n,
                        .s = gram.data(),
                        .ratio = -2.25F,
                        .scale = 0.5F,
                        .diagonal = 3.0F,
                        .c = polynomial.data()},
                       i);
  }
  for (std::int64_t i = 0; i < times_block_count(m); ++i) {
    kernels.times_block(
        {.x = panels.data(), .m = m, .n = n, .p = polynomial.data(), .y = times.data()}, i);
  }
  return {matrix_of(gram, n, n), matrix_of(polynomial, n, n), matrix_of(times, m, n)};
}

// Around the panel (16), the tiles (5, 6, 8 rows, 48 columns), the depth (192) and the blocks (96).
const std::vector<MatrixSize>& sizes() {
  static const std::vector<MatrixSize> all{{1, 1},   {7, 1},     {5, 3},     {16, 16},  {17, 17},
                                           {40, 33}, {192, 48},  {193, 49},  {500, 95}, {97, 96},
                                           {97, 97}, {385, 113}, {200, 200}, {300, 290}};
  return all;
}

TEST(Panel, ProductsMatchTheirFormulas) {
  for (const MatrixSize& size : sizes()) {
    const MatrixF x = testing::random_matrix(size.rows, size.columns, 1);
    const Products got = products(panel_kernels_base(), x);
    const MatrixD gram = x.cast<double>().transpose() * x.cast<double>();
    EXPECT_LE((got.gram.cast<double>() - gram).norm(), 1e-6 * gram.norm());
    const MatrixD g = got.gram.cast<double>();
    const MatrixD polynomial =
        0.5 * (g * g - 2.25 * g) + 3.0 * MatrixD::Identity(size.columns, size.columns);
    EXPECT_LE((got.polynomial.cast<double>() - polynomial).norm(), 1e-6 * polynomial.norm());
    const MatrixD times = x.cast<double>() * got.polynomial.cast<double>();
    EXPECT_LE((got.times.cast<double>() - times).norm(), 1e-6 * times.norm())
        << size.rows << " x " << size.columns;
    EXPECT_EQ(got.gram, got.gram.transpose());
    EXPECT_EQ(got.polynomial, got.polynomial.transpose());
  }
}

TEST(Panel, WiderVectorsGiveTheSameBits) {
  if (panel_kernels_avx512() == nullptr) GTEST_SKIP() << "this processor has no wider vectors";
  for (const MatrixSize& size : sizes()) {
    const MatrixF x = testing::random_matrix(size.rows, size.columns, 3);
    const Products base = products(panel_kernels_base(), x);
    const Products wide = products(*panel_kernels_avx512(), x);
    EXPECT_EQ(base.gram, wide.gram) << size.rows << " x " << size.columns;
    EXPECT_EQ(base.polynomial, wide.polynomial) << size.rows << " x " << size.columns;
    EXPECT_EQ(base.times, wide.times) << size.rows << " x " << size.columns;
  }
}

// An element of a product does not depend on what else is computed: rows alone give the same bits.
TEST(Panel, ElementsDoNotDependOnTheirNeighbours) {
  const MatrixF x = testing::random_matrix(101, 77, 4);
  const MatrixF p = products(panel_kernels(), x).polynomial;
  const MatrixF whole = products(panel_kernels(), x).times;
  const std::vector<float> p_panels = panels_of(p);
  for (const std::int64_t row : {0, 5, 47, 48, 100}) {
    const std::vector<float> one = panels_of(x.row(row));
    std::vector<float> y(one.size());
    panel_kernels().times_block(
        {.x = one.data(), .m = 1, .n = 77, .p = p_panels.data(), .y = y.data()}, 0);
    EXPECT_EQ(matrix_of(y, 1, 77), whole.row(row));
  }
}

TEST(Panel, StripsGoInAndOutInBothOrders) {
  const MatrixF x = testing::random_matrix(50, 37, 5);
  for (const bool transposed : {false, true}) {
    const PanelShape shape{50, 37, transposed};
    const std::int64_t floats = transposed ? panel_floats(37, 50) : panel_floats(50, 37);
    std::vector<float> panels(static_cast<std::size_t>(floats), NAN);
    strip_to_panels(shape, 0, 32, x.data(), panels.data());
    strip_to_panels(shape, 32, 50, x.row(32).data(), panels.data());
    if (transposed) {
      EXPECT_EQ(matrix_of(panels, 37, 50), x.transpose());
    } else {
      EXPECT_EQ(matrix_of(panels, 50, 37), x);
    }
    MatrixF back(50, 37);
    panels_to_strip(shape, 0, 16, panels.data(), back.data());
    panels_to_strip(shape, 16, 50, panels.data(), back.row(16).data());
    EXPECT_EQ(back, x);
  }
}

}  // namespace
}  // namespace shoal

#pragma once
#include <cstdint>

#include "optim/panel/panel.h"

namespace shoal {

// Where matrices come from and where their orthogonal factors go. Both are called from several
// threads at once, for different rows, each row once.
class MatrixRows {
 public:
  virtual ~MatrixRows() = default;
  // Writes rows row0 .. row1-1 of a matrix, row-major without gaps.
  virtual void load(std::int64_t matrix, std::int64_t row0, std::int64_t row1, float* rows) = 0;
  // Takes the same rows of its result. All rows of a matrix are loaded before one is stored.
  virtual void store(std::int64_t matrix, std::int64_t row0, std::int64_t row1,
                     const float* rows) = 0;
};

struct MatrixSize {
  std::int64_t rows, columns;
};

// One matrix inside Newton-Schulz: its memory, and the phases of its work in blocks. Blocks of a
// phase may run in any order and at once; phases follow each other:
//   load, scale, steps times (gram, polynomial, times, swap), store
struct PolarWork {
  // `memory` holds float_count(size) floats, at a multiple of 64 bytes.
  PolarWork(std::int64_t matrix, MatrixSize size, float* memory);
  static std::int64_t float_count(MatrixSize size);
  static double flops(MatrixSize size);  // every product counted as 2 m n k
  static constexpr int kSteps = 10;

  std::int64_t strips() const;
  std::int64_t scales() const;
  std::int64_t grams() const { return gram_block_count(n); }
  std::int64_t times_blocks() const { return times_block_count(m); }

  void load(MatrixRows& matrices, std::int64_t strip) const;
  void scale(std::int64_t block) const;  // Y = Z / |Z|_F; zero stays zero
  void gram(std::int64_t block) const;
  void polynomial(int step, std::int64_t block) const;  // a I + b gram + c gram^2
  void times(std::int64_t block) const;
  void swap();
  void store(MatrixRows& matrices, std::int64_t strip) const;

  std::int64_t matrix, rows, columns;
  std::int64_t m, n;  // the panels hold Y^T or Y as [m, n], n <= m
  float *x, *y, *square, *polynomials;
  double* squares;  // the strips' sums of squares
};

}  // namespace shoal

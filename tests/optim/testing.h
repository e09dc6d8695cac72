#pragma once
#include <Eigen/Dense>
#include <cstdint>
#include <vector>

#include "autograd/base/parallel.h"
#include "autograd/base/rng.h"
#include "optim/newton_schulz.h"

namespace shoal::testing {

using MatrixF = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MatrixD = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

inline std::vector<float> normals(std::int64_t count, std::uint64_t seed, double scale = 1.0) {
  const Rng rng(seed, Purpose::kTest);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(scale * rng.normal(i));
  }
  return values;
}

inline MatrixF random_matrix(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  const std::vector<float> values = normals(rows * columns, seed);
  return Eigen::Map<const MatrixF>(values.data(), rows, columns);
}

// The matrices of `in`, and their results in `out`.
struct MemoryRows : MatrixRows {
  explicit MemoryRows(std::vector<MatrixF> matrices) : in(std::move(matrices)), out(in) {}
  void load(std::int64_t matrix, std::int64_t row0, std::int64_t row1, float* rows) override {
    const MatrixF& from = in[static_cast<std::size_t>(matrix)];
    std::copy(from.data() + row0 * from.cols(), from.data() + row1 * from.cols(), rows);
  }
  void store(std::int64_t matrix, std::int64_t row0, std::int64_t row1,
             const float* rows) override {
    MatrixF& to = out[static_cast<std::size_t>(matrix)];
    std::copy_n(rows, (row1 - row0) * to.cols(), to.data() + row0 * to.cols());
  }
  std::vector<MatrixSize> sizes() const {
    std::vector<MatrixSize> all;
    for (const MatrixF& m : in) all.push_back({m.rows(), m.cols()});
    return all;
  }
  std::vector<MatrixF> in, out;
};

inline std::vector<MatrixF> newton_schulz(std::vector<MatrixF> matrices) {
  MemoryRows rows(std::move(matrices));
  NewtonSchulz(rows.sizes()).run(rows);
  return rows.out;
}

// The formula of newton_schulz.h as it stands.
inline MatrixD newton_schulz_reference(const MatrixD& z) {
  if (z.rows() > z.cols()) return newton_schulz_reference(z.transpose()).transpose();
  if (z.norm() == 0.0) return z;
  MatrixD y = z / z.norm();
  for (int step = 0; step < 10; ++step) {
    const bool fast = step < 8;
    const MatrixD gram = y * y.transpose();
    y = ((fast ? 3.4445 : 2.0) * y + (fast ? -4.7750 : -1.5) * gram * y +
         (fast ? 2.0315 : 0.5) * gram * gram * y)
            .eval();
  }
  return y;
}

// fn() with 1, 2, 3 and 4 threads; the count of before is put back.
template <class Fn>
void for_thread_counts(const Fn& fn) {
  const int before = thread_count();
  for (int threads = 1; threads <= 4; ++threads) {
    set_thread_count(threads);
    fn(threads);
  }
  set_thread_count(before);
}

}  // namespace shoal::testing

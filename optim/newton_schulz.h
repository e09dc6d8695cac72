#pragma once
#include <cstdint>
#include <vector>

#include "optim/flat_buffer.h"
#include "optim/polar_work.h"

namespace shoal {

// The orthogonal factor U V^T of each matrix Z = U S V^T, nearly: with Y = Z / |Z|_F,
//   8 times  Y <- 3.4445 Y - 4.7750 (Y Y^T) Y + 2.0315 (Y Y^T)^2 Y
//   2 times  Y <- 2 Y - 1.5 (Y Y^T) Y + 0.5 (Y Y^T)^2 Y
// A singular value of Y between 1e-4 and 1 becomes 1.0000 to 1.0021. A zero matrix stays zero.
// Y Y^T is taken on the smaller side. Of each symmetric product only half is computed.
//
// Equal bits for any thread count. No heap call and no page fault in run() as long as the thread
// count stays what it was in the first call.
class NewtonSchulz {
 public:
  explicit NewtonSchulz(std::vector<MatrixSize> matrices);
  void run(MatrixRows& matrices);

  // Floating-point operations of one run(), every product counted as 2 m n k.
  double flops() const;

 private:
  struct Group {
    std::int64_t first, count;  // in order_
  };
  MatrixSize size_at(std::int64_t place) const;
  PolarWork work_at(std::int64_t place, float* memory) const;
  void plan(int threads);
  void run_together(MatrixRows& matrices, const Group& group);

  std::vector<MatrixSize> matrices_;
  std::vector<std::int64_t> order_;  // of falling cost
  // Those that cost more than their share of the threads are computed by all threads together, in
  // groups; the others by one thread each.
  std::vector<Group> groups_;
  std::int64_t first_alone_ = 0, alone_floats_ = 0;
  std::vector<PolarWork> together_;  // of the group at work
  FlatBuffer memory_;
  int planned_threads_ = 0;
};

}  // namespace shoal

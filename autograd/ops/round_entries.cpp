#include "autograd/ops/round_entries.h"

#include <algorithm>

#include "autograd/kernels/fp8.h"

namespace shoal {

Tensor round_entries(Tape& tape, Tensor x, std::int64_t rounded) {
  constexpr std::int64_t kBlock = 64;
  const std::int64_t D = x.shape.cols();
  CHECK(rounded >= 0 && rounded <= D, "round_entries: ", rounded, " values of ", x.shape);
  Tensor y = tape.alloc(x.shape);
  y.id = x.id;
  if (tape.is_dry()) return y;
  for_chunks(x.shape.rows(), [&](Range rows) {
    for (std::int64_t n = rows.begin; n < rows.end; ++n) {
      fp8_round(x.row(n), 1, rounded, kBlock, y.row(n));
      std::copy(x.row(n) + rounded, x.row(n) + D, y.row(n) + rounded);
    }
  });
  return y;
}

}  // namespace shoal

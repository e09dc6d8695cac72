#include "optim/param_groups.h"

#include "autograd/base/check.h"

namespace shoal {

void check_slices(const std::vector<ParamSlice>& slices, std::int64_t numel) {
  std::int64_t end = 0;
  for (const ParamSlice& s : slices) {
    CHECK(s.offset >= end && s.size > 0, s.name, ": ", s.size, " floats at ", s.offset,
          ", but the slice before ends at ", end);
    end = s.offset + s.size;
    CHECK(end <= numel, s.name, " ends at ", end, " of ", numel);
    std::int64_t product = 1;
    for (const std::int64_t d : s.shape) product *= d;
    CHECK(product == s.size, s.name, ": shape of ", product, " elements, size ", s.size);
    if (!s.matrix) continue;
    std::int64_t covered = 0;
    for (const ParamSlice::Block& b : s.blocks) {
      CHECK(b.offset == covered && b.rows > 0 && b.cols > 0, s.name, ": block ", b.rows, " x ",
            b.cols, " at ", b.offset, ", the one before ends at ", covered);
      covered += b.rows * b.cols;
    }
    CHECK(covered == s.size, s.name, ": blocks cover ", covered, " of ", s.size);
  }
}

}  // namespace shoal

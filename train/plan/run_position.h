#pragma once
#include <cstdint>

namespace shoal {

// Where a run stands.
struct RunPosition {
  std::int64_t step = 0;     // updates done
  std::int64_t tokens = 0;   // positions seen
  std::int64_t samples = 0;  // sequences taken from the data: where the next step begins
};

}  // namespace shoal

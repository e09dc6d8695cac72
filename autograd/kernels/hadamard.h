#pragma once
#include <cstdint>

namespace shoal {

// y = x H / sqrt(D), rows of width D, a power of two. H is Walsh-Hadamard in Sylvester's order:
//   H_1 = 1, H_2D = [H_D H_D; H_D -H_D].
// H / sqrt(D) is symmetric and its own inverse, so that it is its own gradient too. y may be x. The
// bits depend on the row alone.
void hadamard(const float* x, std::int64_t rows, std::int64_t D, float* y);
constexpr bool has_hadamard(std::int64_t D) { return D > 0 && (D & (D - 1)) == 0; }

}  // namespace shoal

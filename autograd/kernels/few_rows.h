#pragma once
#include "autograd/kernels/gemm.h"

namespace shoal {

// Products of few rows with rows of B that are contiguous over k, such as one token's y = x w^T:
// every number of B is used a few times only, so B is turned in registers and never packed. The
// same chains of fused multiply-adds as any product of kernels/gemm.
bool has_few_rows(const Gemm& g);
// Columns [n0, n1) of all rows; K >= 1.
void multiply_few_rows(const Gemm& g, std::int64_t n0, std::int64_t n1);

}  // namespace shoal

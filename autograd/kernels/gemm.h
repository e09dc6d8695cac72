#pragma once
#include <cstdint>
#include <span>

namespace shoal {

// C[m,n] = (add ? C[m,n] : 0) + sum_k A[m,k] B[k,n], all float.
//
// Row-invariant: every element of C is one chain of fused multiply-adds over k = 0 .. K-1, whatever
// its row, tile, thread, neighbours or vector width. So a token's bits do not depend on what shares
// its batch, and AVX2 and AVX-512 give the same bits.
//
// A and B are read through strides, and through an index where one is given: so transposes and
// gathered tokens need no copy of their own. One of A's strides is 1, and one of B's.
struct Gemm {
  std::int64_t M = 0, N = 0, K = 0;

  const float* a = nullptr;  // A[m,k] = a[row(m) * a_row + col(k) * a_k]
  std::int64_t a_row = 0, a_k = 1;
  const std::int32_t* a_rows = nullptr;  // row(m) = a_rows[m]; needs a_k == 1; null: m
  const std::int32_t* a_ks = nullptr;    // col(k) = a_ks[k]; needs a_row == 1; null: k

  const float* b = nullptr;  // B[k,n] = b[row(k) * b_k + n * b_n]
  std::int64_t b_k = 0, b_n = 1;
  const std::int32_t* b_ks = nullptr;  // row(k) = b_ks[k]; needs b_n == 1; null: k
  const std::int32_t* b_ns = nullptr;  // instead of n, b_ns[n]; needs b_k == 1; null: n

  float* c = nullptr;  // C[m,n] = c[m * c_row + n]
  std::int64_t c_row = 0;
  bool add = false;
};

// y [N,O] = x [N,C] w^T, w [O,C]: the forward product of a layer.
Gemm gemm_forward(std::int64_t N, std::int64_t O, std::int64_t C, const float* x, const float* w,
                  float* y);
// dx [N,C] (+)= dy [N,O] w
Gemm gemm_input_grad(std::int64_t N, std::int64_t O, std::int64_t C, const float* dy,
                     const float* w, float* dx, bool add);
// dw [O,C] (+)= dy^T x
Gemm gemm_weight_grad(std::int64_t N, std::int64_t O, std::int64_t C, const float* dy,
                      const float* x, float* dw, bool add);

// Runs independent products, cut into tasks over all threads. Products without rows, columns or
// terms are allowed: no term writes zeros (or leaves C, where it adds).
void gemm(std::span<const Gemm> products);
inline void gemm(const Gemm& product) { gemm(std::span<const Gemm>(&product, 1)); }
// The same on the calling thread, for use inside a parallel region.
void gemm_on_this_thread(const Gemm& product);

// The vector width in use: "avx512" where the processor has it, else "generic" (AVX2 on x86-64-v3).
// SHOAL_GEMM=generic in the environment, or this call, turns the wide kernel off.
const char* gemm_kernel();
void use_wide_gemm(bool on);

}  // namespace shoal

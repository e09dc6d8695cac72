#include "autograd/kernels/few_rows.h"

#include "autograd/kernels/wide_vectors.h"

namespace shoal {
namespace {

constexpr Index kMostRows = 8;

// R rows, `cols` columns from n on, at most 8 * G: G chains a row hide the additions' latency.
template <int R, int G>
void multiply_columns(const Gemm& g, Index n, Index cols) {
  const float *a[R], *from[8 * G];
  for (Index r = 0; r < R; ++r) a[r] = g.a + (g.a_rows != nullptr ? g.a_rows[r] : r) * g.a_row;
  for (Index j = 0; j < 8 * G; ++j) {
    const Index column = n + (j < cols ? j : cols - 1);  // past the edge: numbers that go nowhere
    from[j] = g.b + (g.b_ns != nullptr ? g.b_ns[column] : column) * g.b_n;
  }
  alignas(32) float edge[8 * G] = {};
  V8 sum[R][G];
  for (Index r = 0; r < R; ++r) {
    if (g.add) __builtin_memcpy(edge, g.c + r * g.c_row + n, static_cast<std::size_t>(cols) * 4);
    for (Index i = 0; i < G; ++i) sum[r][i] = load<V8>(edge + 8 * i);
  }
  Index k = 0;
  for (; k + 8 <= g.K; k += 8) {
    for (Index i = 0; i < G; ++i) {
      V8 t[8];
      transpose_8x8(from + 8 * i, k, t);
#pragma GCC unroll 8
      for (Index j = 0; j < 8; ++j) {
#pragma GCC unroll 8
        for (Index r = 0; r < R; ++r) sum[r][i] = multiply_add(sum[r][i], a[r][k + j], t[j]);
      }
    }
  }
  for (; k < g.K; ++k) {
    for (Index i = 0; i < G; ++i) {
      V8 t;
      for (int j = 0; j < 8; ++j) t[j] = from[8 * i + j][k];
      for (Index r = 0; r < R; ++r) sum[r][i] = multiply_add(sum[r][i], a[r][k], t);
    }
  }
  for (Index r = 0; r < R; ++r) {
    for (Index i = 0; i < G; ++i) __builtin_memcpy(edge + 8 * i, &sum[r][i], sizeof(V8));
    __builtin_memcpy(g.c + r * g.c_row + n, edge, static_cast<std::size_t>(cols) * 4);
  }
}

template <int R>
void multiply_rows(const Gemm& g, Index n0, Index n1) {
  if constexpr (R > 1) {
    if (g.M < R) return multiply_rows<R - 1>(g, n0, n1);
  }
  constexpr int kGroups = R == 1 ? 4 : R == 2 ? 2 : 1;
  for (Index n = n0; n < n1; n += 8 * kGroups) {
    multiply_columns<R, kGroups>(g, n, n1 - n < 8 * kGroups ? n1 - n : 8 * kGroups);
  }
}

}  // namespace

bool has_few_rows(const Gemm& g) {
  return g.M <= kMostRows && g.a_k == 1 && g.a_ks == nullptr && g.b_k == 1 && g.b_ks == nullptr;
}

void multiply_few_rows(const Gemm& g, std::int64_t n0, std::int64_t n1) {
  multiply_rows<kMostRows>(g, n0, n1);
}

}  // namespace shoal

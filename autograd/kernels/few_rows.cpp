#include "autograd/kernels/few_rows.h"

namespace shoal {
namespace {

using Index = std::int64_t;
using V8 = float __attribute__((vector_size(32)));
constexpr Index kMostRows = 8;

inline V8 load(const float* from) {
  V8 v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

// One fused multiply-add: contraction is on for this file.
inline V8 multiply_add(V8 sum, float x, V8 b) { return sum + x * b; }

// t[j] = the numbers at from[0] + k + j ... from[7] + k + j.
inline void turn(const float* const* from, Index k, V8* t) {
  V8 r[8], s[8];
  for (int i = 0; i < 8; ++i) r[i] = load(from[i] + k);
  for (int i = 0; i < 8; i += 2) {
    s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      r[i + j] = __builtin_shufflevector(s[i + j], s[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      r[i + j + 2] = __builtin_shufflevector(s[i + j], s[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    t[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

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
    for (Index i = 0; i < G; ++i) sum[r][i] = load(edge + 8 * i);
  }
  Index k = 0;
  for (; k + 8 <= g.K; k += 8) {
    for (Index i = 0; i < G; ++i) {
      V8 t[8];
      turn(from + 8 * i, k, t);
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

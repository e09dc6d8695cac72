// The inner loops of kernels/gemm, included by one .cpp per instruction set (see wide_vectors.h).
#pragma once
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/wide_vectors.h"

namespace {

Index smaller(Index a, Index b) { return a < b ? a : b; }

// Is A read where it lies, and not packed? (Of one column both strides may be 1.)
bool lies_in_rows(const shoal::Gemm& g) { return g.a_k == 1 && g.a_ks == nullptr; }

// Panels of W columns: to[p * W * K + k * W + j] = B[k0 + k, n0 + p * W + j], zero past the edge.
template <int W>
void pack_b(const shoal::Gemm& g, Index k0, Index k1, Index n0, Index n1, float* to) {
  const Index K = k1 - k0;
  if (g.b_n == 1 && g.b_ns == nullptr) {
    // A row of B at a time, into all panels: it is read from end to end.
    constexpr Index kAheadB = 4;
    const auto row = [&](Index k) {
      return g.b + (g.b_ks != nullptr ? g.b_ks[k0 + k] : k0 + k) * g.b_k;
    };
    for (Index k = 0; k < K; ++k) {
      const float* from = row(k);
      if (k + kAheadB < K) {
        const float* later = row(k + kAheadB);
        for (Index n = n0; n < n1; n += 16) __builtin_prefetch(later + n);
      }
      float* out = to + k * W;
      Index n = n0;
      for (; n + W <= n1; n += W, out += W * K) {
        for (int j = 0; j < W; j += 8) store(out + j, load<V8>(from + n + j));
      }
      if (n == n1) continue;
      for (Index j = 0; j < n1 - n; ++j) out[j] = from[n + j];
      for (Index j = n1 - n; j < W; ++j) out[j] = 0.0F;
    }
    return;
  }
  for (Index n = n0; n < n1; n += W, to += W * K) {
    const Index cols = smaller(W, n1 - n);
    for (Index j = 0; j < W; j += 8) {  // rows of B^T, contiguous in k
      if (j >= cols) {
        for (Index k = 0; k < K; ++k) {
          for (Index i = j; i < j + 8; ++i) to[k * W + i] = 0.0F;
        }
        continue;
      }
      const float* from[8];
      const Index present = smaller(8, cols - j);
      for (Index i = 0; i < present; ++i) {
        from[i] = g.b + (g.b_ns != nullptr ? g.b_ns[n + j + i] : n + j + i) * g.b_n + k0;
      }
      Index k = 0;
      if (present == 8) {
        const bool more = n + j + 16 <= n1 && g.b_ns == nullptr;
        for (; k + 8 <= K; k += 8) {
          if (more && k % 16 == 0) {
            for (int i = 0; i < 8; ++i) __builtin_prefetch(from[i] + 8 * g.b_n + k);
          }
          V8 turned[8];
          transpose_8x8(from, k, turned);
          for (int i = 0; i < 8; ++i) store(to + (k + i) * W + j, turned[i]);
        }
      }
      for (; k < K; ++k) {
        for (Index i = 0; i < 8; ++i) to[k * W + j + i] = i < present ? from[i][k] : 0.0F;
      }
    }
  }
}

// For A with contiguous columns (weight gradients), kGroups groups of R rows at a time, which read
// whole cache lines: to[(group * K + k) * R + r] = A[m + group * R + r, k0 + k]; rows past the edge
// stay unread.
constexpr Index kGroups = 4;

template <int R>
void pack_a(const shoal::Gemm& g, Index k0, Index k1, Index m, Index rows, float* to) {
  constexpr Index kAhead = 12;  // terms; each lies in lines of its own
  const Index K = k1 - k0;
  const auto at = [&](Index k) { return g.a + (g.a_ks != nullptr ? g.a_ks[k] : k) * g.a_k + m; };
  for (Index k = 0; k < K; ++k) {
    const float* from = at(k0 + k);
    if (k + kAhead < K) {
      const float* later = at(k0 + k + kAhead);
      for (Index r = 0; r < rows; r += 16) __builtin_prefetch(later + r);
    }
    Index r = 0;
    for (; r + R <= rows; r += R) {
      __builtin_memcpy(to + r * K + k * R, from + r, R * sizeof(float));
    }
    for (Index i = r; i < rows; ++i) to[r * K + k * R + i - r] = from[i];
  }
}

// Where the rows of a panel of B lie: packed one after the other, or in B itself.
enum class Rows { kPacked, kInB, kGathered };
struct Panel {
  const float* at;
  Index step = 0;                       // in B
  const std::int32_t* index = nullptr;  // gathered: row k is index[k]
};
template <Rows kFrom, int kCols>
inline __attribute__((always_inline)) const float* row_of(const Panel& b, Index k) {
  if constexpr (kFrom == Rows::kPacked) return b.at + k * kCols;
  if constexpr (kFrom == Rows::kInB) return b.at + k * b.step;
  return b.at + b.index[k] * b.step;
}

// One tile of R rows and 2 vectors of columns. kPacked: A comes as a[0][k * kStride + r].
template <class V, int R, bool kPacked, int kStride, Rows kFrom>
inline void tile(const float* const* a, const Panel& panel, Index K, float* c, Index c_row,
                 Index cols, bool add) {
  constexpr int kLanes = static_cast<int>(sizeof(V) / sizeof(float));
  constexpr int kCols = 2 * kLanes;
  V acc[R][2];
  float edge[kCols];
  if (!add) {
    for (int r = 0; r < R; ++r) {
      acc[r][0] = acc[r][1] = V{};
      __builtin_prefetch(c + r * c_row, 1);
      __builtin_prefetch(c + r * c_row + kLanes, 1);
    }
  } else {
    for (int r = 0; r < R; ++r) {
      const float* from = c + r * c_row;
      if (cols < kCols) {
        for (Index j = 0; j < cols; ++j) edge[j] = from[j];
        for (Index j = cols; j < kCols; ++j) edge[j] = 0.0F;
        from = edge;
      }
      acc[r][0] = load<V>(from);
      acc[r][1] = load<V>(from + kLanes);
    }
  }
  for (Index k = 0; k < K; ++k) {
    const float* b = row_of<kFrom, kCols>(panel, k);
    const V b0 = load<V>(b);
    const V b1 = load<V>(b + kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const float x = kPacked ? a[0][k * kStride + r] : a[r][k];
      acc[r][0] = multiply_add(acc[r][0], x, b0);
      acc[r][1] = multiply_add(acc[r][1], x, b1);
    }
  }
  for (int r = 0; r < R; ++r) {
    float* to = c + r * c_row;
    if (cols == kCols) {
      store(to, acc[r][0]);
      store(to + kLanes, acc[r][1]);
    } else {
      store(edge, acc[r][0]);
      store(edge + kLanes, acc[r][1]);
      for (Index j = 0; j < cols; ++j) to[j] = edge[j];
    }
  }
}

template <class V, int kRows, bool kPacked, Rows kFrom, int R = kRows>
void tile_rows(Index rows, const float* const* a, const Panel& panel, Index K, float* c,
               Index c_row, Index cols, bool add) {
  if constexpr (R == 1) {
    tile<V, 1, kPacked, kRows, kFrom>(a, panel, K, c, c_row, cols, add);
  } else if (rows == R) {
    tile<V, R, kPacked, kRows, kFrom>(a, panel, K, c, c_row, cols, add);
  } else {
    tile_rows<V, kRows, kPacked, kFrom, R - 1>(rows, a, panel, K, c, c_row, cols, add);
  }
}

// Calls for the lines that the next tiles read first: rows of A that lie apart (gathered, or long)
// come too late from the processor's own prefetching.
template <int kRows>
struct Ahead {
  const float* row[kRows];
  Index rows = 0, k = 0, step = 0, K = 0;
  void begin(const shoal::Gemm& g, Index m, Index m1, Index k0, Index tiles) {
    rows = m < m1 ? smaller(kRows, m1 - m) : 0;
    for (Index r = 0; r < rows; ++r) {
      row[r] = g.a + (g.a_rows != nullptr ? g.a_rows[m + r] : m + r) * g.a_row + k0;
    }
    k = 0;
    step = (K + 16 * tiles - 1) / (16 * tiles) * 16;
  }
  void fetch() {
    for (const Index end = smaller(K, k + step); k < end; k += 16) {
      for (Index r = 0; r < rows; ++r) __builtin_prefetch(row[r] + k);
    }
  }
};

// Rows [m0, m1) and columns [n0, n1) of the product. A block of B is packed into panels that stay
// in the second-level cache; A passes by in groups of kRows rows that stay in the first. For a few
// rows that B's rows are contiguous for, packing would cost as much as it saves.
template <class V, int kRows>
void multiply_block(const shoal::Gemm& g, Index m0, Index m1, Index n0, Index n1, Index k_block,
                    float* packed_b, float* packed_a) {
  constexpr int kCols = static_cast<int>(2 * sizeof(V) / sizeof(float));
  const bool in_rows = lies_in_rows(g);
  const bool direct = in_rows && g.b_n == 1 && g.b_ns == nullptr && m1 - m0 <= 2 * kRows;
  const Index whole = direct ? n0 + (n1 - n0) / kCols * kCols : n0;  // columns read from B itself
  for (Index k0 = 0; k0 < g.K; k0 += k_block) {
    const Index k1 = smaller(g.K, k0 + k_block), K = k1 - k0;
    const bool add = g.add || k0 > 0;
    if (whole < n1) pack_b<kCols>(g, k0, k1, whole, n1, packed_b);
    Ahead<kRows> ahead;
    ahead.K = K;
    const Index tiles = (n1 - n0 + kCols - 1) / kCols;
    for (Index m = m0; m < m1; m += kRows) {
      if (in_rows) ahead.begin(g, m + kRows, m1, k0, tiles);
      const Index rows = smaller(kRows, m1 - m), group = (m - m0) / kRows % kGroups;
      const float* a[kRows];
      if (in_rows) {
        for (Index r = 0; r < rows; ++r) {
          a[r] = g.a + (g.a_rows != nullptr ? g.a_rows[m + r] : m + r) * g.a_row + k0;
        }
      } else {
        if (group == 0) pack_a<kRows>(g, k0, k1, m, smaller(kGroups * kRows, m1 - m), packed_a);
        a[0] = packed_a + group * kRows * K;
      }
      float* c = g.c + m * g.c_row;
      for (Index n = n0; n < whole; n += kCols) {
        if (g.b_ks != nullptr) {
          const Panel panel{g.b + n, g.b_k, g.b_ks + k0};
          tile_rows<V, kRows, false, Rows::kGathered>(rows, a, panel, K, c + n, g.c_row, kCols,
                                                      add);
        } else {
          const Panel panel{g.b + k0 * g.b_k + n, g.b_k};
          tile_rows<V, kRows, false, Rows::kInB>(rows, a, panel, K, c + n, g.c_row, kCols, add);
        }
      }
      Panel panel{packed_b};
      for (Index n = whole; n < n1; n += kCols, panel.at += kCols * K) {
        const Index cols = smaller(kCols, n1 - n);
        if (in_rows) {
          ahead.fetch();
          tile_rows<V, kRows, false, Rows::kPacked>(rows, a, panel, K, c + n, g.c_row, cols, add);
        } else {
          tile_rows<V, kRows, true, Rows::kPacked>(rows, a, panel, K, c + n, g.c_row, cols, add);
        }
      }
    }
  }
}

}  // namespace

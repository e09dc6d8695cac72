// The inner loops of kernels/streams, included by one .cpp per instruction set (see
// wide_vectors.h) that says how large tiles are. The only arithmetic is sum + a * b, as one fused
// multiply-add, and the sums over lanes.
#pragma once
#include "autograd/kernels/streams.h"
#include "autograd/kernels/wide_vectors.h"

namespace {

constexpr Index kLanes = shoal::kStreamLanes, kPanel = shoal::kStreamPanel;
constexpr Index kMaxColumns = 80;  // of eight streams
constexpr Index kTermBlock = 512;  // terms of x that stay in the first-level cache

// A sum over terms runs in 16 lanes, whatever the vector width; they are added in one order.
template <class V>
constexpr int kParts = static_cast<int>(kLanes * sizeof(float) / sizeof(V));
template <class V>
constexpr int kWidth = static_cast<int>(sizeof(V) / sizeof(float));

// out[i] = the sum of lanes[i * 16 ..], i < 8
inline void add_lanes_of_8(const float* lanes, float* out) {
  V8 v[8];
  for (int i = 0; i < 8; ++i)
    v[i] = load<V8>(lanes + i * kLanes) + load<V8>(lanes + i * kLanes + 8);
  for (int i = 0; i < 4; ++i) {
    v[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < 2; ++i) {
    v[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
           __builtin_shufflevector(v[2 * i], v[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  store(out, __builtin_shufflevector(v[0], v[1], 0, 1, 2, 3, 8, 9, 10, 11) +
                 __builtin_shufflevector(v[0], v[1], 4, 5, 6, 7, 12, 13, 14, 15));
}

// lanes has room for a multiple of eight sums.
inline void add_lanes(const float* lanes, Index count, float* out) {
  Index i = 0;
  for (; i + 8 <= count; i += 8) add_lanes_of_8(lanes + i * kLanes, out + i);
  if (i == count) return;
  float rest[8];
  add_lanes_of_8(lanes + i * kLanes, rest);
  for (Index k = i; k < count; ++k) out[k] = rest[k - i];
}

inline void zero(float* to, Index count) {
  for (Index i = 0; i < count; ++i) to[i] = 0.0F;
}
// `cols` floats and zeros up to `width`.
inline void copy_edge(const float* from, Index cols, Index width, float* to) {
  for (Index i = 0; i < cols; ++i) to[i] = from[i];
  zero(to + cols, width - cols);
}

inline void fetch(const float* from) { __builtin_prefetch(from, 0, 2); }

// n vectors; the next row is asked for in shares of this size.
template <class V, int n>
inline void fetch_vectors(const float* from) {
  for (int j = 0; j < n; ++j) fetch(from + j * kWidth<V>);
}

// The part-th of `parts` equal shares of what is asked for.
inline void fetch_share(const shoal::AheadList& ahead, Index part, Index parts) {
  constexpr Index kLine = 16;
  for (const shoal::Ahead& span : ahead.spans) {
    const Index lines = (span.floats + kLine - 1) / kLine;
    for (Index line = lines * part / parts; line < lines * (part + 1) / parts; ++line) {
      fetch(span.from + line * kLine);
    }
  }
}

// lanes[(r * b_rows + q) * 16 ..] (+)= a_r . b_q over steps of 16 terms.
template <class V, int R, int Q>
inline void dot_tile(const float* const* a, const float* const* b, Index steps, Index b_step,
                     bool add, float* lanes, Index lanes_row) {
  constexpr int P = kParts<V>, W = kWidth<V>;
  V sum[R][Q][P];
  for (int r = 0; r < R; ++r) {
    for (int q = 0; q < Q; ++q) {
      for (int p = 0; p < P; ++p) {
        sum[r][q][p] = add ? load<V>(lanes + r * lanes_row + q * kLanes + p * W) : V{};
      }
    }
  }
  for (Index s = 0; s < steps; ++s) {
    for (int p = 0; p < P; ++p) {
      V x[R];
      for (int r = 0; r < R; ++r) x[r] = load<V>(a[r] + s * kLanes + p * W);
      for (int q = 0; q < Q; ++q) {
        const V y = load<V>(b[q] + s * b_step + p * W);
        for (int r = 0; r < R; ++r) sum[r][q][p] = multiply_add(sum[r][q][p], x[r], y);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int q = 0; q < Q; ++q) {
      for (int p = 0; p < P; ++p) store(lanes + r * lanes_row + q * kLanes + p * W, sum[r][q][p]);
    }
  }
}

// ---- forward -------------------------------------------------------------------------------

template <class V, int R, int Q>
void project_columns(Index columns, const float* const* x, const float* fn, Index steps,
                     Index fn_step, bool add, float* lanes, Index lanes_row) {
  if constexpr (Q > 1) {
    if (columns < Q) {
      return project_columns<V, R, Q - 1>(columns, x, fn, steps, fn_step, add, lanes, lanes_row);
    }
  }
  const float* b[Q];
  for (int q = 0; q < Q; ++q) b[q] = fn + q * kLanes;
  dot_tile<V, R, Q>(x, b, steps, fn_step, add, lanes, lanes_row);
}

template <class V, int R>
void square_tile(const float* const* x, Index steps, bool add, float* lanes) {
  constexpr int P = kParts<V>, W = kWidth<V>;
  V sum[R][P];
  for (int r = 0; r < R; ++r) {
    for (int p = 0; p < P; ++p) sum[r][p] = add ? load<V>(lanes + r * kLanes + p * W) : V{};
  }
  for (Index s = 0; s < steps; ++s) {
    for (int r = 0; r < R; ++r) {
      for (int p = 0; p < P; ++p) {
        const V v = load<V>(x[r] + s * kLanes + p * W);
        sum[r][p] = multiply_add(sum[r][p], v, v);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int p = 0; p < P; ++p) store(lanes + r * kLanes + p * W, sum[r][p]);
  }
}

// Some terms of all columns: x [rows] at k = 16 `first` .. 16 (first + steps).
template <class V, int R, int Q>
void project_terms(const shoal::StreamShape& s, Index rows, const float* const* x, Index first,
                   Index steps, const float* fn, float* lanes, Index lanes_row, float* squares,
                   const shoal::AheadList& ahead, Index& part, Index parts) {
  const bool add = first > 0;
  const Index terms = (s.K() + kLanes - 1) / kLanes * kLanes;
  for (Index r = 0; r < rows;) {
    if (r + 4 <= rows) {
      square_tile<V, 4>(x + r, steps, add, squares + r * kLanes);
      r += 4;
    } else {
      square_tile<V, 1>(x + r, steps, add, squares + r * kLanes);
      r += 1;
    }
  }
  for (Index j0 = 0; j0 < s.J; j0 += shoal::kStreamColumns) {
    const Index left = s.J - j0;
    const Index columns = left < shoal::kStreamColumns ? left : shoal::kStreamColumns;
    const Index fn_step = columns * kLanes;
    const float* group = fn + j0 * terms + first * fn_step;
    fetch_share(ahead, part++, parts);
    for (Index j = 0; j < columns; j += Q) {
      const Index some = columns - j < Q ? columns - j : Q;
      float* to = lanes + (j0 + j) * kLanes;
      Index r = 0;
      for (; r + R <= rows; r += R) {
        project_columns<V, R, Q>(some, x + r, group + j * kLanes, steps, fn_step, add,
                                 to + r * lanes_row, lanes_row);
      }
      for (; r < rows; ++r) {
        project_columns<V, 1, Q>(some, x + r, group + j * kLanes, steps, fn_step, add,
                                 to + r * lanes_row, lanes_row);
      }
    }
  }
}

template <class V, int R, int Q>
void project(const shoal::StreamShape& s, Index rows, const float* x, const float* fn, float* u,
             float* squares, const shoal::AheadList& ahead) {
  constexpr Index kRows = shoal::kProjectRows;
  alignas(64) float lanes[kRows * kMaxColumns * kLanes];
  alignas(64) float square_lanes[kRows * kLanes];
  alignas(64) float edge[kRows * kLanes];
  const Index K = s.K(), full = K / kLanes, lanes_row = (s.J + 7) / 8 * 8 * kLanes;
  for (Index r = 0; r < rows; ++r) {
    zero(lanes + r * lanes_row + s.J * kLanes, lanes_row - s.J * kLanes);
  }
  if (rows < kRows) zero(square_lanes, kRows * kLanes);
  const Index blocks = (K + kTermBlock - 1) / kTermBlock + (full * kLanes < K ? 1 : 0);
  const Index groups = (s.J + shoal::kStreamColumns - 1) / shoal::kStreamColumns;
  Index part = 0;
  const float* at[kRows];
  for (Index first = 0; first < full; first += kTermBlock / kLanes) {
    const Index left = full - first;
    const Index steps = left < kTermBlock / kLanes ? left : kTermBlock / kLanes;
    for (Index r = 0; r < rows; ++r) at[r] = x + r * K + first * kLanes;
    project_terms<V, R, Q>(s, rows, at, first, steps, fn, lanes, lanes_row, square_lanes, ahead,
                           part, blocks * groups);
  }
  if (full * kLanes < K) {
    for (Index r = 0; r < rows; ++r) {
      at[r] = edge + r * kLanes;
      copy_edge(x + r * K + full * kLanes, K - full * kLanes, kLanes, edge + r * kLanes);
    }
    project_terms<V, R, Q>(s, rows, at, full, 1, fn, lanes, lanes_row, square_lanes, ahead, part,
                           blocks * groups);
  }
  for (Index r = 0; r < rows; ++r) add_lanes(lanes + r * lanes_row, s.J, u + r * s.J);
  add_lanes(square_lanes, rows, squares);
}

template <class V>
void read(Index rows, Index n, Index C, const float* x, const float* pre, float* out) {
  constexpr int W = kWidth<V>;
  for (Index i = 0; i < rows; ++i, x += n * C, pre += n, out += C) {
    Index c = 0;
    for (; c + 2 * W <= C; c += 2 * W) {
      V a{}, b{};
      for (Index j = 0; j < n; ++j) {
        a = multiply_add(a, pre[j], load<V>(x + j * C + c));
        b = multiply_add(b, pre[j], load<V>(x + j * C + c + W));
      }
      store(out + c, a);
      store(out + c + W, b);
    }
    for (; c < C; ++c) {
      float a = 0.0F;
      for (Index j = 0; j < n; ++j) a = __builtin_fmaf(pre[j], x[j * C + c], a);
      out[c] = a;
    }
  }
}

enum class To { kCache, kPast, kBoth };

// Past the caches nothing is read before it is overwritten; elsewhere the lines are asked for.
template <class V, int n, To to>
void expand_n(const shoal::ExpandForward& b) {
  constexpr int W = kWidth<V>;
  const Index C = b.C;
  for (Index i = 0; i < b.rows; ++i) {
    const float *x = b.x + i * n * C, *out = b.out + i * C;
    const float *post = b.post + i * n, *comb = b.comb + i * n * n;
    float* y = to == To::kPast ? nullptr : b.y + i * n * C;
    float* past = to == To::kCache ? nullptr : b.past + i * n * C;
    const Index next = i + 1 < b.rows ? n * C : 0;
    const float* next_x = x + next;
    Index c = 0;
    for (; c + W <= C; c += W) {
      const V o = load<V>(out + c);
      V v[n];
      for (int j = 0; j < n; ++j) v[j] = load<V>(x + j * C + c);
      fetch_vectors<V, n>(next_x + n * c);
      if constexpr (to == To::kCache) fetch_vectors<V, n>(y + next + n * c);
      for (int k = 0; k < n; ++k) {
        V sum = multiply_add(V{}, post[k], o);
        for (int j = 0; j < n; ++j) sum = multiply_add(sum, comb[j * n + k], v[j]);
        if constexpr (to != To::kPast) store(y + k * C + c, sum);
        if constexpr (to != To::kCache) store_past(past + k * C + c, sum);
      }
    }
    if constexpr (to != To::kCache) continue;  // whole lines alone
    for (; c < C; ++c) {
      for (int k = 0; k < n; ++k) {
        float sum = __builtin_fmaf(post[k], out[c], 0.0F);
        for (int j = 0; j < n; ++j) sum = __builtin_fmaf(comb[j * n + k], x[j * C + c], sum);
        y[k * C + c] = sum;
      }
    }
  }
  if constexpr (to != To::kCache) finish_past();
}

// fn.operator()<n>() for n = 1 .. 8. with_streams() of kernels/sinkhorn would be shared by the
// linker between instruction sets.
template <class Fn>
inline void for_streams(Index n, const Fn& fn) {
  switch (n) {
    case 1:
      return fn.template operator()<1>();
    case 2:
      return fn.template operator()<2>();
    case 3:
      return fn.template operator()<3>();
    case 4:
      return fn.template operator()<4>();
    case 5:
      return fn.template operator()<5>();
    case 6:
      return fn.template operator()<6>();
    case 7:
      return fn.template operator()<7>();
    default:
      return fn.template operator()<8>();
  }
}

template <class V>
void expand(const shoal::ExpandForward& b) {
  for_streams(b.n, [&]<int n>() {
    if (b.past == nullptr) return expand_n<V, n, To::kCache>(b);
    return b.y == nullptr ? expand_n<V, n, To::kPast>(b) : expand_n<V, n, To::kBoth>(b);
  });
}

// ---- backward ------------------------------------------------------------------------------

// out[r * Q + q] = a_r . b_q, R rows of a at a time.
template <class V, int R, int Q>
void dots(const float* const* a, Index a_rows, const float* const* b, Index C, float* out) {
  alignas(64) float lanes[(R * Q + 7) / 8 * 8 * kLanes];
  alignas(64) float edge[(R + Q) * kLanes];
  zero(lanes + R * Q * kLanes, ((R * Q + 7) / 8 * 8 - R * Q) * kLanes);
  const Index steps = C / kLanes, full = steps * kLanes;
  for (Index r0 = 0; r0 < a_rows; r0 += R, a += R, out += R * Q) {
    dot_tile<V, R, Q>(a, b, steps, kLanes, false, lanes, Q * kLanes);
    if (full < C) {
      const float *a_edge[R], *b_edge[Q];
      for (int r = 0; r < R; ++r) {
        a_edge[r] = edge + r * kLanes;
        copy_edge(a[r] + full, C - full, kLanes, edge + r * kLanes);
      }
      for (int q = 0; q < Q; ++q) {
        b_edge[q] = edge + (R + q) * kLanes;
        copy_edge(b[q] + full, C - full, kLanes, edge + (R + q) * kLanes);
      }
      dot_tile<V, R, Q>(a_edge, b_edge, 1, kLanes, true, lanes, Q * kLanes);
    }
    add_lanes(lanes, R * Q, out);
  }
}

template <class V>
void read_dots(Index rows, Index n_hc, Index C, const float* x, const float* dread, float* dpre) {
  for_streams(n_hc, [&]<int n>() {
    for (Index i = 0; i < rows; ++i) {
      const float* streams[n];
      for (int j = 0; j < n; ++j) streams[j] = x + (i * n + j) * C;
      const float* d = dread + i * C;
      dots<V, n, 1>(streams, n, &d, C, dpre + i * n);
    }
  });
}

// 2 vectors of columns of R rows: dx, and a copy of x in `kept` rows of kPanel floats.
template <class V, int R>
inline void input_tile(const shoal::CollapseBackward& b, Index i, Index j, Index c, const float* fn,
                       float* kept) {
  constexpr int W = kWidth<V>;
  const Index C = b.shape.C, J = b.shape.J, K = b.shape.K(), left = C - c;
  const Index cols = left < 2 * W ? left : 2 * W;
  const bool whole = cols == 2 * W;
  alignas(64) float edge[2 * W];
  // Two vectors at `from`, zeros past the edge.
  const auto at = [&](const float* from) {
    if (whole) return from;
    copy_edge(from, cols, 2 * W, edge);
    return static_cast<const float*>(edge);
  };
  V sum[R][2];
  for (int r = 0; r < R; ++r) {
    const Index at_x = (i + r) * K + j * C + c;
    if (b.dx_in != nullptr) {
      const float* from = at(b.dx_in + at_x);
      sum[r][0] = load<V>(from);
      sum[r][1] = load<V>(from + W);
    } else {
      sum[r][0] = sum[r][1] = V{};
    }
    const float* x = at(b.x + at_x);
    const V x0 = load<V>(x), x1 = load<V>(x + W);
    store(kept + r * kPanel, x0);
    store(kept + r * kPanel + W, x1);
    const float k = -b.k[i + r];
    sum[r][0] = multiply_add(sum[r][0], k, x0);
    sum[r][1] = multiply_add(sum[r][1], k, x1);
    if (b.dread != nullptr) {
      const float pre = b.pre[(i + r) * b.shape.n + j];
      const float* d = at(b.dread + (i + r) * C + c);
      sum[r][0] = multiply_add(sum[r][0], pre, load<V>(d));
      sum[r][1] = multiply_add(sum[r][1], pre, load<V>(d + W));
    }
  }
  const float* g = b.g + i * J;
  for (Index q = 0; q < J; ++q) {
    const V f0 = load<V>(fn + q * kPanel), f1 = load<V>(fn + q * kPanel + W);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      sum[r][0] = multiply_add(sum[r][0], g[r * J + q], f0);
      sum[r][1] = multiply_add(sum[r][1], g[r * J + q], f1);
    }
  }
  for (int r = 0; r < R; ++r) {
    float* to = b.dx + (i + r) * K + j * C + c;
    if (whole) {
      store(to, sum[r][0]);
      store(to + W, sum[r][1]);
    } else {
      store(edge, sum[r][0]);
      store(edge + W, sum[r][1]);
      for (Index e = 0; e < cols; ++e) to[e] = edge[e];
    }
  }
}

template <class V, int R>
void input_rows(Index rows, const shoal::CollapseBackward& b, Index i, Index j, Index c,
                const float* fn, float* kept) {
  if constexpr (R > 1) {
    if (rows < R) return input_rows<V, R - 1>(rows, b, i, j, c, fn, kept);
  }
  input_tile<V, R>(b, i, j, c, fn, kept);
}

// 2 vectors of columns of R rows of dfn.
template <class V, int R>
inline void weight_tile(Index rows, Index J, const float* g, const float* kept, bool add,
                        float* dfn) {
  constexpr int W = kWidth<V>;
  V sum[R][2];
  for (int r = 0; r < R; ++r) {
    sum[r][0] = add ? load<V>(dfn + r * kPanel) : V{};
    sum[r][1] = add ? load<V>(dfn + r * kPanel + W) : V{};
  }
  for (Index i = 0; i < rows; ++i) {
    const V x0 = load<V>(kept + i * kPanel), x1 = load<V>(kept + i * kPanel + W);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      sum[r][0] = multiply_add(sum[r][0], g[i * J + r], x0);
      sum[r][1] = multiply_add(sum[r][1], g[i * J + r], x1);
    }
  }
  for (int r = 0; r < R; ++r) {
    store(dfn + r * kPanel, sum[r][0]);
    store(dfn + r * kPanel + W, sum[r][1]);
  }
}

template <class V, int R>
void weight_columns(Index columns, Index rows, Index J, const float* g, const float* kept, bool add,
                    float* dfn) {
  if constexpr (R > 1) {
    if (columns < R) return weight_columns<V, R - 1>(columns, rows, J, g, kept, add, dfn);
  }
  weight_tile<V, R>(rows, J, g, kept, add, dfn);
}

template <class V, int R>
void collapse_backward(const shoal::CollapseBackward& b) {
  constexpr int W = kWidth<V>;
  const Index C = b.shape.C, J = b.shape.J, K = b.shape.K();
  alignas(64) float kept[shoal::kBackwardRows * kPanel];
  const Index panels = b.shape.n * ((C + kPanel - 1) / kPanel);
  Index panel = 0;
  for (Index j = 0; j < b.shape.n; ++j) {
    for (Index c0 = 0; c0 < C; c0 += kPanel, ++panel) {
      fetch_share(b.ahead, panel, panels);
      for (Index c = c0; c < C && c < c0 + kPanel; c += 2 * W) {
        const Index at = panel * J * kPanel + c - c0;
        float* x = kept + (c - c0);
        if (b.dx != nullptr) {
          for (Index i = 0; i < b.rows; i += R) {
            input_rows<V, R>(b.rows - i, b, i, j, c, b.fn + at, x + i * kPanel);
          }
        } else {
          const Index cols = C - c < 2 * W ? C - c : 2 * W;
          for (Index i = 0; i < b.rows; ++i) {
            copy_edge(b.x + i * K + j * C + c, cols, 2 * W, x + i * kPanel);
          }
        }
        if (b.dfn == nullptr) continue;
        for (Index q = 0; q < J; q += R) {
          weight_columns<V, R>(J - q, b.rows, J, b.g + q, x, b.dfn_add, b.dfn + at + q * kPanel);
        }
      }
    }
  }
}

// to[c] = [to[c]] + sum_k a[k] g[k][c] of one vector's columns.
template <class V, int n>
inline V mix(const float* a, const V (&g)[n], V sum) {
  for (int k = 0; k < n; ++k) sum = multiply_add(sum, a[k], g[k]);
  return sum;
}

template <class V, int n, int R, bool past>
void expand_backward_n(const shoal::ExpandBackward& b) {
  constexpr int W = kWidth<V>;
  const Index C = b.C;
  for (Index i = 0; i < b.rows; ++i) {
    const float* dy = b.dy + i * n * C;
    const float *post = b.post + i * n, *comb = b.comb + i * n * n;
    float* dx = b.dx != nullptr ? b.dx + i * n * C : nullptr;
    float* dout = b.dout != nullptr ? b.dout + i * C : nullptr;
    const float *x = b.x + i * n * C, *out = b.out + i * C;
    const Index next = i + 1 < b.rows ? n * C : 0;
    const float *next_x = x + next, *next_dy = dy + next;
    const float* next_dx = dx != nullptr && !past ? dx + next : nullptr;
    Index c = 0;
    for (; c + W <= C; c += W) {
      if (next_dx != nullptr) fetch_vectors<V, n>(next_dx + n * c);
      fetch_vectors<V, n>(next_x + n * c);
      fetch_vectors<V, n>(next_dy + n * c);
      V g[n];
      for (int k = 0; k < n; ++k) g[k] = load<V>(dy + k * C + c);
      if (dout != nullptr) {
        store(dout + c, mix<V, n>(post, g, b.dout_add ? load<V>(dout + c) : V{}));
      }
      if (dx == nullptr) continue;
      for (int j = 0; j < n; ++j) {
        float* to = dx + j * C + c;
        if constexpr (past) {
          store_past(to, mix<V, n>(comb + j * n, g, V{}));
        } else {
          store(to, mix<V, n>(comb + j * n, g, b.dx_add ? load<V>(to) : V{}));
        }
      }
    }
    for (; c < C; ++c) {
      const auto mix_one = [&](const float* a, float sum) {
        for (int k = 0; k < n; ++k) sum = __builtin_fmaf(a[k], dy[k * C + c], sum);
        return sum;
      };
      if (dout != nullptr) dout[c] = mix_one(post, b.dout_add ? dout[c] : 0.0F);
      for (int j = 0; dx != nullptr && j < n; ++j) {
        dx[j * C + c] = mix_one(comb + j * n, b.dx_add ? dx[j * C + c] : 0.0F);
      }
    }
    if (b.dpost == nullptr && b.dcomb == nullptr) continue;
    const float *rows[n + 1], *streams[n];
    for (int k = 0; k < n; ++k) {
      rows[k] = x + k * C;
      streams[k] = dy + k * C;
    }
    rows[n] = out;
    float sums[(n + 1) * n];
    dots<V, R, n>(rows, n + 1, streams, C, sums);
    float* dcomb = b.dcomb != nullptr ? b.dcomb + i * n * n : nullptr;
    for (int jk = 0; dcomb != nullptr && jk < n * n; ++jk) {
      dcomb[jk] = b.dcomb_add ? dcomb[jk] + sums[jk] : sums[jk];
    }
    float* dpost = b.dpost != nullptr ? b.dpost + i * n : nullptr;
    for (int k = 0; dpost != nullptr && k < n; ++k) {
      dpost[k] = b.dpost_add ? dpost[k] + sums[n * n + k] : sums[n * n + k];
    }
  }
  if constexpr (past) finish_past();
}

template <class V, int kRegisters>
void expand_backward(const shoal::ExpandBackward& b) {
  for_streams(b.n, [&]<int n>() {
    constexpr int R = (n + 1) * n * kParts<V> <= kRegisters ? n + 1 : 1;
    b.dx_past ? expand_backward_n<V, n, R, true>(b) : expand_backward_n<V, n, R, false>(b);
  });
}

}  // namespace

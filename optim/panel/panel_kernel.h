#pragma once
// The panel products for vectors of kWidth floats. Included by one source file for each width,
// which defines kWidth, SHOAL_PANEL_ROWS and SHOAL_PANELS_WIDE first. Nothing here may instantiate
// a function of the standard library: compiled for a wider processor, the linker could hand it to
// everybody.

namespace {

typedef float Vec __attribute__((vector_size(kWidth * sizeof(float))));
constexpr int kVecs = 16 / kWidth;    // vectors across a panel
constexpr std::int64_t kDepth = 192;  // of the summed index: three panels of it stay in L1

#define SHOAL_INLINE inline __attribute__((always_inline))

// Unaligned, and free of the aliasing rule.
SHOAL_INLINE void read(Vec& v, const float* p) { __builtin_memcpy(&v, p, sizeof(v)); }
SHOAL_INLINE void write(float* p, const Vec& v) { __builtin_memcpy(p, &v, sizeof(v)); }

// One fused multiply-add: contraction is on here. By value, so that no check of a sanitizer comes
// between product and sum.
SHOAL_INLINE Vec multiply_add(Vec sum, float x, Vec b) { return sum + x * b; }

SHOAL_INLINE std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }

// acc[r][v] += a[r * kRowStep + k * kDepthStep] * b[panel of v][k][...], k = 0 .. depth - 1.
template <int R, int P, int kRowStep, int kDepthStep>
SHOAL_INLINE void accumulate(const float* a, const float* b, std::int64_t panel_size,
                             std::int64_t depth, Vec (&acc)[R][P * kVecs]) {
  for (std::int64_t k = 0; k < depth; ++k) {
    Vec columns[P * kVecs];
#pragma GCC unroll 8
    for (int v = 0; v < P * kVecs; ++v) {
      read(columns[v], b + (v / kVecs) * panel_size + k * kPanel + (v % kVecs) * kWidth);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const float x = a[r * kRowStep + k * kDepthStep];
#pragma GCC unroll 8
      for (int v = 0; v < P * kVecs; ++v) {
        acc[r][v] = multiply_add(acc[r][v], x, columns[v]);
      }
    }
  }
}

template <int R, int P>
SHOAL_INLINE void load(const float* c, std::int64_t panel_size, Vec (&acc)[R][P * kVecs]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < P * kVecs; ++v) {
      read(acc[r][v], c + (v / kVecs) * panel_size + r * kPanel + (v % kVecs) * kWidth);
    }
  }
}

template <int R, int P>
SHOAL_INLINE void store(float* c, std::int64_t panel_size, const Vec (&acc)[R][P * kVecs]) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < P * kVecs; ++v) {
      write(c + (v / kVecs) * panel_size + r * kPanel + (v % kVecs) * kWidth, acc[r][v]);
    }
  }
}

// Rows i .. i+R-1 (inside one panel) and panels j .. j+P-1 of C, summed over k0 .. k1-1.
template <int R, int P>
void gram_tile(const GramProduct& g, std::int64_t i, std::int64_t j, std::int64_t k0,
               std::int64_t k1) {
  const std::int64_t x_panel = g.K * kPanel, c_panel = g.n * kPanel;
  const float* a = g.x + (i / kPanel) * x_panel + k0 * kPanel + i % kPanel;
  float* c = g.c + j * c_panel + i * kPanel;
  Vec acc[R][P * kVecs] = {};
  if (k0 > 0) load<R, P>(c, c_panel, acc);
  accumulate<R, P, 1, kPanel>(a, g.x + j * x_panel + k0 * kPanel, x_panel, k1 - k0, acc);
  if (k1 == g.K) {
    // One product and one sum at a time, so that a compiler has no choice in what to fuse.
    if (g.s != nullptr) {
      Vec s[R][P * kVecs];
      load<R, P>(g.s + j * c_panel + i * kPanel, c_panel, s);
      for (int r = 0; r < R; ++r) {
        for (int v = 0; v < P * kVecs; ++v) {
          acc[r][v] = multiply_add(acc[r][v], g.ratio, s[r][v]);
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < P * kVecs; ++v) acc[r][v] *= g.scale;
    }
  }
  store<R, P>(c, c_panel, acc);
}

// Rows k .. k+R-1 and panels j .. j+P-1 of Y, summed over the rows of P in panels i0 .. i1-1.
template <int R, int P>
void times_tile(const TimesProduct& t, std::int64_t k, std::int64_t j, std::int64_t i0,
                std::int64_t i1) {
  const std::int64_t x_panel = t.m * kPanel, p_panel = t.n * kPanel;
  float* y = t.y + j * x_panel + k * kPanel;
  Vec acc[R][P * kVecs] = {};
  if (i0 > 0) load<R, P>(y, x_panel, acc);
  for (std::int64_t i = i0; i < i1; ++i) {
    const float* a = t.x + i * x_panel + k * kPanel;
    const float* b = t.p + j * p_panel + i * kPanel * kPanel;
    const std::int64_t depth = t.n - i * kPanel;
    if (depth >= kPanel) {
      accumulate<R, P, kPanel, 1>(a, b, p_panel, kPanel, acc);
    } else {
      accumulate<R, P, kPanel, 1>(a, b, p_panel, depth, acc);
    }
  }
  store<R, P>(y, x_panel, acc);
}

// Calls tile.template run<R, P>() for R = rows, P = panels: the largest sizes first in the caller.
template <int P, class Tile>
SHOAL_INLINE void with_rows(std::int64_t rows, const Tile& tile) {
  switch (rows) {
    case 1:
      return tile.template run<1, P>();
    case 2:
      return tile.template run<2, P>();
    case 3:
      return tile.template run<3, P>();
    case 4:
      return tile.template run<4, P>();
    case 5:
      return tile.template run<5, P>();
    case 6:
      return tile.template run<6, P>();
#if SHOAL_PANEL_ROWS > 6
    case 7:
      return tile.template run<7, P>();
    default:
      return tile.template run<8, P>();
#else
    default:
      return;
#endif
  }
}
template <class Tile>
SHOAL_INLINE void with_size(std::int64_t rows, std::int64_t panels, const Tile& tile) {
#if SHOAL_PANELS_WIDE > 1
  if (panels == 3) return with_rows<3>(rows, tile);
  if (panels == 2) return with_rows<2>(rows, tile);
#endif
  with_rows<1>(rows, tile);
  static_cast<void>(panels);
}

struct GramTile {
  const GramProduct& g;
  std::int64_t i, j, k0, k1;
  template <int R, int P>
  void run() const {
    gram_tile<R, P>(g, i, j, k0, k1);
  }
};
struct TimesTile {
  const TimesProduct& t;
  std::int64_t k, j, i0, i1;
  template <int R, int P>
  void run() const {
    times_tile<R, P>(t, k, j, i0, i1);
  }
};

// Rows of the next tile below row i, of `left` rows: tiles of X^T X stay inside a panel, so that a
// row of the tile is at a fixed distance from the first (16 = 8 + 8 = 6 + 5 + 5).
SHOAL_INLINE std::int64_t rows_in_panel(std::int64_t i, std::int64_t left) {
  const std::int64_t place = i % kPanel;
  const std::int64_t rows = SHOAL_PANEL_ROWS > 6 ? 8 : (place == 0 ? 6 : 5);
  return least(rows, least(left, kPanel - place));
}

// Copies element (i, j) of C to (j, i) for rows i0 .. i1-1 and columns j0 .. j1-1, j < i.
SHOAL_INLINE void mirror(const GramProduct& g, std::int64_t i0, std::int64_t i1, std::int64_t j0,
                         std::int64_t j1) {
  const std::int64_t panel = g.n * kPanel;
  for (std::int64_t i = i0; i < i1; i += kPanel) {
    const std::int64_t rows = least(kPanel, i1 - i);
    for (std::int64_t j = j0; j <= least(i, j1 - 1); j += kPanel) {
      const std::int64_t columns = least(kPanel, j1 - j);
      const float* from = g.c + (j / kPanel) * panel + i * kPanel;
      float* to = g.c + (i / kPanel) * panel + j * kPanel;
      if (i == j) {
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t s = 0; s < r; ++s) to[s * kPanel + r] = from[r * kPanel + s];
        }
      } else if (rows == kPanel && columns == kPanel) {
        float tile[kPanel * kPanel];  // read in one order and written in the other, both whole
        for (std::int64_t r = 0; r < kPanel; ++r) {
          for (std::int64_t s = 0; s < kPanel; ++s) tile[s * kPanel + r] = from[r * kPanel + s];
        }
        for (std::int64_t r = 0; r < kPanel * kPanel; ++r) to[r] = tile[r];
      } else {
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t s = 0; s < columns; ++s) to[s * kPanel + r] = from[r * kPanel + s];
        }
      }
    }
  }
}

void gram_block(const GramProduct& g, std::int64_t block) {
  std::int64_t row = 0;  // block = row (row + 1) / 2 + column
  while ((row + 1) * (row + 2) / 2 <= block) ++row;
  const std::int64_t column = block - row * (row + 1) / 2;
  const std::int64_t i0 = row * kGramBlock, i1 = least(g.n, i0 + kGramBlock);
  const std::int64_t j0 = column * kGramBlock, j1 = least(g.n, j0 + kGramBlock);
  const std::int64_t panel_end = (j1 + kPanel - 1) / kPanel;
  for (std::int64_t k0 = 0; k0 < g.K; k0 += kDepth) {
    const std::int64_t k1 = least(g.K, k0 + kDepth);
    for (std::int64_t j = j0 / kPanel; j < panel_end; j += SHOAL_PANELS_WIDE) {
      const std::int64_t wide = least(SHOAL_PANELS_WIDE, panel_end - j);
      std::int64_t rows = 0;
      for (std::int64_t i = row == column ? j * kPanel : i0; i < i1; i += rows) {
        rows = rows_in_panel(i, i1 - i);
        const std::int64_t panels = least(wide, (i + rows - 1) / kPanel - j + 1);
        with_size(rows, panels, GramTile{g, i, j, k0, k1});
      }
    }
  }
  if (row == column && g.diagonal != 0.0F) {
    for (std::int64_t i = i0; i < i1; ++i) {
      g.c[(i / kPanel) * g.n * kPanel + i * kPanel + i % kPanel] += g.diagonal;
    }
  }
  mirror(g, i0, i1, j0, j1);
}

void times_block(const TimesProduct& t, std::int64_t block) {
  const std::int64_t m0 = block * kTimesBlock, m1 = least(t.m, m0 + kTimesBlock);
  const std::int64_t panels = panel_count(t.n), deep = kDepth / kPanel;
  for (std::int64_t i0 = 0; i0 < panels; i0 += deep) {
    const std::int64_t i1 = least(panels, i0 + deep);
    for (std::int64_t j = 0; j < panels; j += SHOAL_PANELS_WIDE) {
      const std::int64_t wide = least(SHOAL_PANELS_WIDE, panels - j);
      for (std::int64_t k = m0; k < m1; k += SHOAL_PANEL_ROWS) {
        with_size(least(SHOAL_PANEL_ROWS, m1 - k), wide, TimesTile{t, k, j, i0, i1});
      }
    }
  }
}

}  // namespace

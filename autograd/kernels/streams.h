#pragma once
#include <cstdint>

namespace shoal {

// The passes of hyper-connections over rows of n streams, x [rows, n, C], around the mixing weights
// of kernels/sinkhorn. Rows come in small blocks that stay in the second-level cache, so that
// main memory sees every stream once each way.
//
// Forward: every token's bits depend on its row alone, and are the same for AVX2 and AVX-512.
// Backward: sums over rows have the order of the rows.
struct StreamShape {
  std::int64_t n, C, J;  // streams, width of one, columns of the projection fn [J, n*C]
  std::int64_t K() const { return n * C; }
};

// fn is read from two copies, laid out so that the inner loops walk through memory in steps of one.
//   by_terms:  [J / 6 groups][K / 16][6][16], for x fn^T
//   by_panels: [n][C / 32][J][32], for g fn; gradients of fn have this layout too
// Edges are filled with zeros.
inline constexpr std::int64_t kStreamColumns = 6, kStreamLanes = 16, kStreamPanel = 32;
std::int64_t by_terms_size(const StreamShape& s);
std::int64_t by_panels_size(const StreamShape& s);
void pack_by_terms(const StreamShape& s, const float* fn, float* packed);
void pack_by_panels(const StreamShape& s, const float* fn, float* packed);

inline constexpr std::int64_t kProjectRows = 8;    // at most, in one call of `project`
inline constexpr std::int64_t kBackwardRows = 16;  // at most, in one call of `collapse_backward`

// Memory that the code after a kernel is going to touch. Kernels full of arithmetic ask for it
// meanwhile, so that nobody waits for it later: streams come from main memory, and in runs too
// short for the processor to notice.
struct Ahead {
  const float* from = nullptr;
  std::int64_t floats = 0;
};
struct AheadList {
  Ahead spans[5];  // of zero floats where nothing is left to ask for
};

// dx = [dx_in] + pre_j dread - k x + g fn and dfn (+)= g^T x, of a block of rows.
struct CollapseBackward {
  StreamShape shape;
  std::int64_t rows;
  const float* x;      // [rows, n, C]
  const float* g;      // [rows, J]
  const float* k;      // [rows]
  const float* pre;    // [rows, n]
  const float* dread;  // [rows, C] or null: none
  const float* fn;     // by panels
  const float* dx_in;  // [rows, n, C] or null: zero; may be dx
  float* dx;           // [rows, n, C] or null: not wanted
  float* dfn;          // by panels, or null: not wanted
  bool dfn_add;        // else dfn is overwritten
  AheadList ahead;
};

// What goes past the caches consists of whole cache lines: C is a multiple of kStreamLanes, and the
// address one of their bytes.
//
// y_k = post_k out + sum_j comb_jk x_j
struct ExpandForward {
  std::int64_t rows, n, C;
  const float *x, *out, *post, *comb;  // [rows, n, C], [rows, C], [rows, n], [rows, n, n]
  float* y;                            // [rows, n, C] or null
  float* past;                         // the same, written past the caches, or null
};

// dx_j = sum_k comb_jk dy_k,  dout = sum_k post_k dy_k,  dpost_k = dy_k . out,
// dcomb_jk = x_j . dy_k.  With the gradients that are wanted; null ones are skipped.
struct ExpandBackward {
  std::int64_t rows, n, C;
  const float *x, *out, *post, *comb;  // [rows, n, C], [rows, C], [rows, n], [rows, n, n]
  const float* dy;                     // [rows, n, C]
  float *dx, *dout, *dpost, *dcomb;
  bool dx_add, dout_add, dpost_add, dcomb_add;
  bool dx_past;  // dx is written past the caches: not with dx_add
};

struct StreamKernels {
  const char* name;
  // u [rows, J] = x fn^T and squares [rows] = sum x^2; fn by terms
  void (*project)(const StreamShape& s, std::int64_t rows, const float* x, const float* fn,
                  float* u, float* squares, const AheadList& ahead);
  // out [rows, C] = sum_j pre_j x_j
  void (*read)(std::int64_t rows, std::int64_t n, std::int64_t C, const float* x, const float* pre,
               float* out);
  void (*expand)(const ExpandForward& b);
  // dpre [rows, n]: dpre_j = x_j . dread
  void (*read_dots)(std::int64_t rows, std::int64_t n, std::int64_t C, const float* x,
                    const float* dread, float* dpre);
  void (*collapse_backward)(const CollapseBackward& b);
  void (*expand_backward)(const ExpandBackward& b);
};
const StreamKernels& stream_kernels();  // as wide as kernels/gemm is
const StreamKernels& stream_kernels_base();
const StreamKernels* stream_kernels_avx512();  // null where they were not built

}  // namespace shoal

#include "autograd/kernels/sinkhorn.h"

#include <algorithm>

#include "autograd/base/check.h"
#include "autograd/kernels/vec_math.h"

namespace shoal {
namespace {

// Eight tokens go by in the lanes of a vector, so that nothing in here is a sum over lanes.
constexpr int kLanes = 8;
constexpr int kMaxIterations = kMaxMixingIterations;

Vec8 exp8(const Vec8& x) {
  Vec8 y;
#pragma omp simd
  for (int i = 0; i < kLanes; ++i) y[i] = fast_exp(x[i]);
  return y;
}
Vec8 sigmoid8(const Vec8& x) { return 1.0F / (1.0F + exp8(-x)); }

template <int n>
struct Sinkhorn {
  Vec8 softmax[n][n];                // P
  Vec8 m[2 * kMaxIterations][n][n];  // the matrix before each normalisation
  Vec8 inv[2 * kMaxIterations][n];   // 1 / (sum + eps) of each normalisation
  int steps;

  static Vec8 sum(const Vec8 (*m)[n], bool columns, int i) {
    Vec8 s = columns ? m[0][i] : m[i][0];
    for (int j = 1; j < n; ++j) s += columns ? m[j][i] : m[i][j];
    return s;
  }

  // logits -> out; every intermediate is kept when `keep`.
  void run(const Vec8 (&logits)[n][n], int iterations, float eps, bool keep, Vec8 (&out)[n][n]) {
    for (int j = 0; j < n; ++j) {
      Vec8 top = logits[j][0];
      for (int k = 1; k < n; ++k) top = logits[j][k] > top ? logits[j][k] : top;
      Vec8 total{};
      for (int k = 0; k < n; ++k) {
        softmax[j][k] = exp8(logits[j][k] - top);
        total += softmax[j][k];
      }
      for (int k = 0; k < n; ++k) {
        softmax[j][k] /= total;
        out[j][k] = softmax[j][k] + eps;
      }
    }
    steps = 2 * iterations - 1;
    for (int step = 0; step < steps; ++step) {
      const bool columns = step % 2 == 0;
      const int slot = keep ? step : 0;
      for (int i = 0; i < n; ++i) inv[slot][i] = 1.0F / (sum(out, columns, i) + eps);
      for (int j = 0; j < n; ++j) {
        for (int k = 0; k < n; ++k) {
          if (keep) m[step][j][k] = out[j][k];
          out[j][k] *= inv[slot][columns ? k : j];
        }
      }
    }
  }

  // For Y = Q / (s + eps) along an axis: dQ = (dY - sum_axis(dY . Q) / (s + eps)) / (s + eps).
  void back(Vec8 (&d)[n][n]) const {
    for (int step = steps; step-- > 0;) {
      const bool columns = step % 2 == 0;
      for (int i = 0; i < n; ++i) {
        Vec8 carry{};
        for (int j = 0; j < n; ++j) {
          const int row = columns ? j : i, col = columns ? i : j;
          carry += d[row][col] * m[step][row][col];
        }
        carry *= inv[step][i];
        for (int j = 0; j < n; ++j) {
          const int row = columns ? j : i, col = columns ? i : j;
          d[row][col] = (d[row][col] - carry) * inv[step][i];
        }
      }
    }
    for (int j = 0; j < n; ++j) {
      Vec8 carry{};
      for (int k = 0; k < n; ++k) carry += d[j][k] * softmax[j][k];
      for (int k = 0; k < n; ++k) d[j][k] = softmax[j][k] * (d[j][k] - carry);
    }
  }
};

// Column c of up to eight rows, absent rows as zero.
Vec8 gather(const float* x, std::int64_t stride, std::int64_t c, std::int64_t rows) {
  Vec8 v{};
  for (std::int64_t i = 0; i < rows; ++i) v[i] = x[i * stride + c];
  return v;
}
void scatter(const Vec8& v, float* x, std::int64_t stride, std::int64_t c, std::int64_t rows) {
  for (std::int64_t i = 0; i < rows; ++i) x[i * stride + c] = v[i];
}

template <int n>
void forward_rows(const MixingShape& shape, std::int64_t rows, const float* u, const float* scale,
                  const float* base, float* pre, float* post, float* comb, Sinkhorn<n>& work) {
  const std::int64_t J = shape.columns();
  const auto value = [&](std::int64_t c, float a) { return gather(u, J, c, rows) * a + base[c]; };
  const bool raw = shape.kind == Mixing::kHyper;
  for (int j = 0; j < n; ++j) {
    const Vec8 x = value(j, scale[0]);
    scatter(raw ? x : sigmoid8(x) + shape.eps, pre, n, j, rows);
  }
  if (shape.kind == Mixing::kHead) return;
  for (int k = 0; k < n; ++k) {
    const Vec8 x = value(n + k, scale[1]);
    scatter(raw ? x : 2.0F * sigmoid8(x), post, n, k, rows);
  }
  Vec8 logits[n][n], mixed[n][n];
  for (int i = 0; i < n * n; ++i) logits[i / n][i % n] = value(2 * n + i, scale[2]);
  if (!raw) {
    work.run(logits, static_cast<int>(shape.iterations), shape.eps, false, mixed);
  }
  for (int i = 0; i < n * n; ++i) {
    scatter(raw ? logits[i / n][i % n] : mixed[i / n][i % n], comb, n * n, i, rows);
  }
}

template <int n>
void backward_rows(const MixingShape& shape, std::int64_t rows, const float* u, const float* scale,
                   const float* base, const float* dpre, const float* dpost, const float* dcomb,
                   float* du, float* dscale, float* dbase, Sinkhorn<n>& work) {
  const std::int64_t J = shape.columns();
  const bool raw = shape.kind == Mixing::kHyper;
  // dx = gradient of a u + b at column c, whose factor is scale[which].
  const auto put = [&](std::int64_t c, int which, const Vec8& dx) {
    const Vec8 from = gather(u, J, c, rows);
    scatter(dx * scale[which], du, J, c, rows);
    for (std::int64_t i = 0; i < rows; ++i) {  // row order, so that the sum has one order
      dscale[which] += dx[i] * from[i];
      dbase[c] += dx[i];
    }
  };
  const auto gate = [&](std::int64_t c, int which, const Vec8& dy) {
    if (raw) return put(c, which, dy);
    const Vec8 s = sigmoid8(gather(u, J, c, rows) * scale[which] + base[c]);
    put(c, which, dy * s * (1.0F - s) * (which == 1 ? 2.0F : 1.0F));
  };
  for (int j = 0; j < n; ++j) gate(j, 0, gather(dpre, n, j, rows));
  if (shape.kind == Mixing::kHead) return;
  for (int k = 0; k < n; ++k) gate(n + k, 1, gather(dpost, n, k, rows));
  Vec8 logits[n][n], d[n][n];
  for (int i = 0; i < n * n; ++i) {
    logits[i / n][i % n] = gather(u, J, 2 * n + i, rows) * scale[2] + base[2 * n + i];
    d[i / n][i % n] = gather(dcomb, n * n, i, rows);
  }
  if (!raw) {
    Vec8 mixed[n][n];
    work.run(logits, static_cast<int>(shape.iterations), shape.eps, true, mixed);
    work.back(d);
  }
  for (int i = 0; i < n * n; ++i) put(2 * n + i, 2, d[i / n][i % n]);
}

// A head has no post and comb: their pointers are null, and stay so.
template <class T>
T* at(T* from, std::int64_t offset) {
  return from == nullptr ? nullptr : from + offset;
}

}  // namespace

void mixing_forward(const MixingShape& shape, std::int64_t rows, const float* u, const float* scale,
                    const float* base, float* pre, float* post, float* comb) {
  DCHECK(shape.iterations <= kMaxIterations);
  const std::int64_t J = shape.columns(), n_hc = shape.streams;
  with_streams(n_hc, [&]<int n>() {
    thread_local Sinkhorn<n> work;
    for (std::int64_t i = 0; i < rows; i += kLanes) {
      forward_rows<n>(shape, std::min<std::int64_t>(kLanes, rows - i), u + i * J, scale, base,
                      pre + i * n, at(post, i * n), at(comb, i * n * n), work);
    }
  });
}

void mixing_backward(const MixingShape& shape, std::int64_t rows, const float* u,
                     const float* scale, const float* base, const float* dpre, const float* dpost,
                     const float* dcomb, float* du, float* dscale, float* dbase) {
  const std::int64_t J = shape.columns(), n_hc = shape.streams;
  with_streams(n_hc, [&]<int n>() {
    thread_local Sinkhorn<n> work;
    for (std::int64_t i = 0; i < rows; i += kLanes) {
      backward_rows<n>(shape, std::min<std::int64_t>(kLanes, rows - i), u + i * J, scale, base,
                       dpre + i * n, at(dpost, i * n), at(dcomb, i * n * n), du + i * J, dscale,
                       dbase, work);
    }
  });
}

}  // namespace shoal

#include "autograd/ops/hyper_connection.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/vec_math.h"

namespace shoal {
namespace {

constexpr int kMaxStreams = 8;

struct HcCollapse {
  static constexpr std::string_view kName = "hc_collapse";
  enum Input { kX, kFn, kBase, kScale };
  enum Output { kRead, kPost, kComb };
  struct Saved {
    Tensor x, fn, base, scale;
    Tensor u;    // [N, J]
    Tensor inv;  // [N]
    Tensor pre;  // [N, n]
    MixingShape shape;
    float norm_eps;
    std::int64_t N() const { return x.shape[0]; }
    std::int64_t n() const { return x.shape[1]; }
    std::int64_t C() const { return x.shape[2]; }
    std::int64_t J() const { return shape.columns(); }
  };

  static void forward(Tape&, const Saved& s, Outputs y) {
    const std::int64_t n = s.n(), C = s.C(), J = s.J();
    gemm(gemm_forward(s.N(), J, n * C, s.x.as<float>(), s.fn.as<float>(), s.u.as<float>()));
    const bool head = s.shape.kind == Mixing::kHead;
    for_chunks(s.N(), [&](Range rows) {
      for (std::int64_t i = rows.begin; i < rows.end; ++i) {
        const float* x = s.x.as<float>() + i * n * C;
        const float inv =
            1.0F / std::sqrt(sum_squares(x, n * C) / static_cast<float>(n * C) + s.norm_eps);
        s.inv.as<float>()[i] = inv;
        float* u = s.u.row(i);
        for (std::int64_t j = 0; j < J; ++j) u[j] *= inv;
        // Eight tokens fill the lanes; this chunk's X of eight tokens is still near.
        const std::int64_t first = rows.begin + (i - rows.begin) / 8 * 8;
        if (i + 1 != std::min(first + 8, rows.end)) continue;
        mixing_forward(s.shape, i + 1 - first, s.u.row(first), s.scale.as<float>(),
                       s.base.as<float>(), s.pre.row(first), head ? nullptr : y[kPost].row(first),
                       head ? nullptr : y[kComb].as<float>() + first * n * n);
        for (std::int64_t row = first; row <= i; ++row) {
          collapse(s.x.as<float>() + row * n * C, s.pre.row(row), n, C, y[kRead].row(row));
        }
      }
    });
  }

  static void collapse(const float* x, const float* pre, std::int64_t n, std::int64_t C,
                       float* out) {
    const float first = pre[0];
#pragma omp simd
    for (std::int64_t c = 0; c < C; ++c) out[c] = first * x[c];
    for (std::int64_t j = 1; j < n; ++j) {
      const float a = pre[j];
      const float* from = x + j * C;
#pragma omp simd
      for (std::int64_t c = 0; c < C; ++c) out[c] = std::fma(a, from[c], out[c]);
    }
  }

  // With g = r du:  dX_j += pre_j dread + g fn_j - (r^2 sum(du u) / (n C)) v_j,  dfn = g^T v.
  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t N = s.N(), n = s.n(), C = s.C(), J = s.J();
    const bool head = s.shape.kind == Mixing::kHead;
    const auto g = tape.scratch<float>(N * J);
    const auto dpre = tape.scratch<float>(N * n);
    const auto partial = tape.scratch<float>(kChunks * (3 + J));
    const auto zeros = tape.scratch<float>(N * n * n);
    if (!parallel_is_off()) {
      std::fill_n(partial.data(), kChunks * (3 + J), 0.0F);
      if (!head && (!dy[kPost] || !dy[kComb])) std::fill_n(zeros.data(), N * n * n, 0.0F);
    }
    const float* dpost = head ? nullptr : (dy[kPost] ? dy[kPost].as<float>() : zeros.data());
    const float* dcomb = head ? nullptr : (dy[kComb] ? dy[kComb].as<float>() : zeros.data());
    for_chunks(N, [&](Range rows) {
      float* dscale = partial.data() + rows.chunk * (3 + J);
      constexpr std::int64_t kRows = 24;  // their X and dX stay in the second-level cache
      for (std::int64_t first = rows.begin; first < rows.end; first += kRows) {
        const std::int64_t last = std::min(first + kRows, rows.end);
        for (std::int64_t i = first; i < last; ++i) {
          for (std::int64_t j = 0; j < n; ++j) {
            dpre[i * n + j] =
                dy[kRead] ? dot(s.x.as<float>() + (i * n + j) * C, dy[kRead].row(i), C) : 0.0F;
          }
        }
        mixing_backward(s.shape, last - first, s.u.row(first), s.scale.as<float>(),
                        s.base.as<float>(), dpre.data() + first * n,
                        head ? nullptr : dpost + first * n, head ? nullptr : dcomb + first * n * n,
                        g.data() + first * J, dscale, dscale + 3);
        for (std::int64_t i = first; i < last; ++i) {
          const float inv = s.inv.as<float>()[i];
          float* g_i = g.data() + i * J;
          float carry = 0.0F;
          for (std::int64_t j = 0; j < J; ++j) {
            carry += g_i[j] * s.u.row(i)[j];
            g_i[j] *= inv;
          }
          if (!dx[kX]) continue;
          const float k = carry * inv * inv / static_cast<float>(n * C);
          for (std::int64_t j = 0; j < n; ++j) {
            const float* x = s.x.as<float>() + (i * n + j) * C;
            const float* dread = dy[kRead] ? dy[kRead].row(i) : x;
            const float a = dy[kRead] ? s.pre.row(i)[j] : 0.0F;
            write_grad(dx[kX].data() + (i * n + j) * C, dx[kX].beta, C,
                       [=](std::int64_t c) { return a * dread[c] - k * x[c]; });
          }
        }
        if (dx[kX]) {
          gemm_on_this_thread(gemm_input_grad(last - first, J, n * C, g.data() + first * J,
                                              s.fn.as<float>(), dx[kX].data() + first * n * C,
                                              true));
        }
      }
    });
    if (dx[kFn]) {
      gemm(gemm_weight_grad(N, J, n * C, g.data(), s.x.as<float>(), dx[kFn].data(),
                            dx[kFn].beta != 0.0F));
    }
    if (parallel_is_off()) return;
    if (dx[kScale]) {
      write_grad(dx[kScale].data(), dx[kScale].beta, s.scale.shape.numel(),
                 [&](std::int64_t i) { return sum_chunks(partial.data() + i, 3 + J); });
    }
    if (dx[kBase]) {
      write_grad(dx[kBase].data(), dx[kBase].beta, J,
                 [&](std::int64_t j) { return sum_chunks(partial.data() + 3 + j, 3 + J); });
    }
  }
};
const RegisterOp kCollapseRegistered{kOpInfo<HcCollapse>};

struct HcExpand {
  static constexpr std::string_view kName = "hc_expand";
  enum Input { kX, kOut, kPost, kComb };
  struct Saved {
    Tensor x, out, post, comb;
    std::int64_t n() const { return x.shape[1]; }
    std::int64_t C() const { return x.shape[2]; }
  };

  template <int n>
  static void forward_rows(const Saved& s, Range rows, float* y) {
    const std::int64_t C = s.C();
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
      const float* x = s.x.as<float>() + i * n * C;
      const float* out = s.out.row(i);
      const float* post = s.post.row(i);
      const float* comb = s.comb.as<float>() + i * n * n;
      float* to = y + i * n * C;
#pragma omp simd
      for (std::int64_t c = 0; c < C; ++c) {
        for (int k = 0; k < n; ++k) {
          float sum = post[k] * out[c];
          for (int j = 0; j < n; ++j) sum = std::fma(comb[j * n + k], x[j * C + c], sum);
          to[k * C + c] = sum;
        }
      }
    }
  }

  static void forward(Tape&, const Saved& s, Outputs y) {
    for_chunks(s.x.shape[0], [&](Range rows) {
      with_streams(s.n(), [&]<int n>() { forward_rows<n>(s, rows, y[0].as<float>()); });
    });
  }

  // dpost_k = dy_k . out,  dout = sum_k post_k dy_k,  dcomb_jk = x_j . dy_k,
  // dx_j = sum_k comb_jk dy_k
  template <int n>
  static void backward_rows(const Saved& s, Range rows, const float* dy, GradSlots dx) {
    const std::int64_t C = s.C();
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
      const float* x = s.x.as<float>() + i * n * C;
      const float* out = s.out.row(i);
      const float* post = s.post.row(i);
      const float* comb = s.comb.as<float>() + i * n * n;
      const float* g = dy + i * n * C;
      if (dx[kX]) {
        for (int j = 0; j < n; ++j) {
          write_grad(dx[kX].data() + (i * n + j) * C, dx[kX].beta, C, [=](std::int64_t c) {
            float sum = 0.0F;
            for (int k = 0; k < n; ++k) sum = std::fma(comb[j * n + k], g[k * C + c], sum);
            return sum;
          });
        }
      }
      if (dx[kOut]) {
        write_grad(dx[kOut].data() + i * C, dx[kOut].beta, C, [=](std::int64_t c) {
          float sum = 0.0F;
          for (int k = 0; k < n; ++k) sum = std::fma(post[k], g[k * C + c], sum);
          return sum;
        });
      }
      if (dx[kPost]) {
        write_grad(dx[kPost].data() + i * n, dx[kPost].beta, n,
                   [=](std::int64_t k) { return dot(g + k * C, out, C); });
      }
      if (dx[kComb]) {
        write_grad(dx[kComb].data() + i * n * n, dx[kComb].beta, n * n,
                   [=](std::int64_t jk) { return dot(x + jk / n * C, g + jk % n * C, C); });
      }
    }
  }

  static void backward(Tape&, const Saved& s, Cotangents dy, GradSlots dx) {
    for_chunks(s.x.shape[0], [&](Range rows) {
      with_streams(s.n(), [&]<int n>() { backward_rows<n>(s, rows, dy[0].as<float>(), dx); });
    });
  }
};
const RegisterOp kExpandRegistered{kOpInfo<HcExpand>};

}  // namespace

StreamMix hc_collapse(Tape& tape, Tensor x, Tensor fn, Tensor base, Tensor scale,
                      const MixingShape& shape, float norm_eps) {
  CHECK(x.shape.rank == 3 && x.shape[1] == shape.streams && shape.streams >= 1 &&
            shape.streams <= kMaxStreams,
        "hc_collapse: x ", x.shape, " for ", shape.streams, " streams (1 to ", kMaxStreams, ")");
  const std::int64_t N = x.shape[0], n = x.shape[1], C = x.shape[2], J = shape.columns();
  const bool head = shape.kind == Mixing::kHead;
  CHECK(
      (fn.shape == Shape{J, n * C} && base.shape == Shape{J} && scale.shape == Shape{head ? 1 : 3}),
      "hc_collapse: fn ", fn.shape, ", base ", base.shape, ", scale ", scale.shape, " for x ",
      x.shape);
  CHECK(shape.iterations >= 1 && shape.iterations <= kMaxMixingIterations,
        "hc_collapse: ", shape.iterations, " iterations; 1 to ", kMaxMixingIterations);
  StreamMix mix{tape.alloc({N, C}), {}, {}};
  const HcCollapse::Saved saved{
      x, fn, base, scale, tape.alloc({N, J}), tape.alloc({N}), tape.alloc({N, n}), shape, norm_eps};
  if (head) {
    tape.apply<HcCollapse>(saved, {x, fn, base, scale}, {&mix.read});
  } else {
    mix.post = tape.alloc({N, n});
    mix.comb = tape.alloc({N, n, n});
    tape.apply<HcCollapse>(saved, {x, fn, base, scale}, {&mix.read, &mix.post, &mix.comb});
  }
  return mix;
}

Tensor hc_expand(Tape& tape, Tensor x, Tensor out, Tensor post, Tensor comb) {
  CHECK(x.shape.rank == 3 && x.shape[1] <= kMaxStreams, "hc_expand: x ", x.shape);
  const std::int64_t N = x.shape[0], n = x.shape[1], C = x.shape[2];
  CHECK((out.shape == Shape{N, C} && post.shape == Shape{N, n} && comb.shape == Shape{N, n, n}),
        "hc_expand: x ", x.shape, ", out ", out.shape, ", post ", post.shape, ", comb ",
        comb.shape);
  Tensor y = tape.alloc(x.shape);
  tape.apply<HcExpand>({x, out, post, comb}, {x, out, post, comb}, {&y});
  return y;
}

}  // namespace shoal

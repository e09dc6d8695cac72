#include "autograd/ops/window_attention.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/vec_math.h"

namespace shoal {
namespace {

// Rows of queries that go by together. More rows share more keys, but also multiply more pairs
// that the window hides.
constexpr std::int64_t kBlock = 32;
// Blocks whose parts of dkv are held at once: without a bound a window as long as the text would
// make them grow with its square.
constexpr std::int64_t kWave = 64;

struct WindowAttention {
  static constexpr std::string_view kName = "window_attention";
  enum Input { kQ, kKv, kSink };
  struct Saved {
    Tensor q, kv, sink, first, position;
    Tensor lse;  // [N, H] log of the denominator
    Tensor o;    // the output, for D = do . o
    RopeTable rope;
    std::int64_t window, H;

    std::int64_t N() const { return kv.shape.rows(); }
    std::int64_t D() const { return kv.shape.cols(); }
    std::int64_t blocks() const { return (N() + kBlock - 1) / kBlock; }
    std::int64_t max_keys() const { return std::min(N(), window - 1 + kBlock); }
    float scale() const { return 1.0F / std::sqrt(static_cast<float>(D())); }
    std::int64_t first_key(std::int64_t n) const {
      return std::max<std::int64_t>(first.as<std::int32_t>()[n], n - window + 1);
    }
  };
  // Rows [n0, n1) and the keys [k0, n1) that any of them sees.
  struct Block {
    std::int64_t n0, n1, k0, keys, rows;
    Block(const Saved& s, std::int64_t i)
        : n0(i * kBlock),
          n1(std::min(s.N(), n0 + kBlock)),
          k0(s.first_key(n0)),
          keys(n1 - k0),
          rows((n1 - n0) * s.H) {}
  };

  // scores[(n,h), j] = a[n,h] . kv[k0 + j]
  static void multiply_keys(const Saved& s, const Block& b, const float* a, float* scores) {
    gemm_on_this_thread(gemm_forward(b.rows, b.keys, s.D(), a, s.kv.row(b.k0), scores));
  }
  static void multiply_values(const Saved& s, const Block& b, const float* weights, float* out,
                              bool accumulate) {
    gemm_on_this_thread(
        gemm_input_grad(b.rows, b.keys, s.D(), weights, s.kv.row(b.k0), out, accumulate));
  }

  static void forward(Tape&, const Saved& s, Outputs y) {
    const std::int64_t D = s.D(), H = s.H, nope = D - 2 * s.rope.pairs;
    const float scale = s.scale();
    for_tasks(s.blocks(), [&](std::int64_t i) {
      const Block b(s, i);
      auto* p = static_cast<float*>(
          thread_scratch(1, static_cast<std::size_t>(b.rows * b.keys) * sizeof(float)));
      multiply_keys(s, b, s.q.row(b.n0), p);
      for (std::int64_t n = b.n0; n < b.n1; ++n) {
        const std::int64_t begin = s.first_key(n) - b.k0, end = n + 1 - b.k0;
        for (std::int64_t h = 0; h < H; ++h) {
          float* row = p + ((n - b.n0) * H + h) * b.keys;
          const float sink = s.sink.as<float>()[h];
          const float top = std::max(sink, scale * row_max(row + begin, end - begin));
          std::fill(row, row + begin, 0.0F);
#pragma omp simd
          for (std::int64_t j = begin; j < end; ++j) row[j] = fast_exp(scale * row[j] - top);
          std::fill(row + end, row + b.keys, 0.0F);
          float sum = 0.0F;  // in the order of positions, whatever block the row is in
          for (std::int64_t j = begin; j < end; ++j) sum += row[j];
          sum += fast_exp(sink - top);
          s.lse.as<float>()[n * H + h] = top + std::log(sum);
          const float inv = 1.0F / sum;
#pragma omp simd
          for (std::int64_t j = begin; j < end; ++j) row[j] *= inv;
        }
      }
      multiply_values(s, b, p, y[0].row(b.n0), false);
      for (std::int64_t n = b.n0; n < b.n1; ++n) {
        const float* cos_sin = s.rope.at(s.position.as<std::int32_t>()[n]);
        for (std::int64_t h = 0; h < H; ++h) {
          rotate_pairs(y[0].row(n) + h * D + nope, cos_sin, s.rope.pairs, -1.0F);
        }
      }
    });
  }

  // With do turned forward again, dP = do . kv and D = do . o (spec 2.9):
  //   dz = P (dP - D) / sqrt(D),  dq = dz kv,  dkv = P^T do + dz^T q,  dsink = -P_sink D.
  // A key is seen from several blocks: each writes its own part, then the parts of a key are added
  // in the order of blocks, a wave of blocks at a time.
  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t D = s.D(), H = s.H, parts = s.max_keys();
    const auto dkv = tape.scratch<float>(std::min(s.blocks(), kWave) * parts * D);
    const auto dsink = tape.scratch<float>(s.blocks() * H);
    for (std::int64_t i = 0; i < s.blocks(); i += kWave) {
      const std::int64_t end = std::min(s.blocks(), i + kWave);
      backward_blocks(s, i, end, dy, dx, dkv.data(), dsink.data());
      if (dx[kKv]) add_parts(s, i, end, dkv.data(), dx[kKv]);
    }
    if (dx[kSink] && !parallel_is_off()) {
      for (std::int64_t h = 0; h < H; ++h) {
        float sum = 0.0F;
        for (std::int64_t i = 0; i < s.blocks(); ++i) sum += dsink[i * H + h];
        write_grad(dx[kSink].data() + h, dx[kSink].beta, 1, [=](std::int64_t) { return sum; });
      }
    }
  }

  // dq and dsink of the blocks [first, end), and their parts of dkv.
  static void backward_blocks(const Saved& s, std::int64_t first, std::int64_t end_block,
                              Cotangents dy, GradSlots dx, float* dkv, float* dsink) {
    const std::int64_t D = s.D(), H = s.H, nope = D - 2 * s.rope.pairs, parts = s.max_keys();
    const float scale = s.scale();
    for_tasks(end_block - first, [&](std::int64_t task) {
      const std::int64_t i = first + task;
      const Block b(s, i);
      auto* p = static_cast<float*>(
          thread_scratch(1, static_cast<std::size_t>(b.rows * (2 * b.keys + D)) * sizeof(float)));
      float* dz = p + b.rows * b.keys;
      float* turned = dz + b.rows * b.keys;
      float* dsink_h = dsink + i * H;
      std::fill_n(dsink_h, H, 0.0F);
      std::copy(dy[0].row(b.n0), dy[0].row(b.n0) + b.rows * D, turned);
      for (std::int64_t n = b.n0; n < b.n1; ++n) {
        const float* cos_sin = s.rope.at(s.position.as<std::int32_t>()[n]);
        for (std::int64_t h = 0; h < H; ++h) {
          rotate_pairs(turned + ((n - b.n0) * H + h) * D + nope, cos_sin, s.rope.pairs, 1.0F);
        }
      }
      multiply_keys(s, b, s.q.row(b.n0), p);
      multiply_keys(s, b, turned, dz);
      for (std::int64_t n = b.n0; n < b.n1; ++n) {
        const std::int64_t begin = s.first_key(n) - b.k0, end = n + 1 - b.k0;
        for (std::int64_t h = 0; h < H; ++h) {
          float* p_row = p + ((n - b.n0) * H + h) * b.keys;
          float* dz_row = dz + ((n - b.n0) * H + h) * b.keys;
          const float lse = s.lse.as<float>()[n * H + h];
          // Both turned back by the same angle: their product is that of the unturned ones.
          const float delta = dot(dy[0].row(n) + h * D, s.o.row(n) + h * D, D);
          dsink_h[h] -= fast_exp(s.sink.as<float>()[h] - lse) * delta;
          std::fill(p_row, p_row + begin, 0.0F);
          std::fill(dz_row, dz_row + begin, 0.0F);
#pragma omp simd
          for (std::int64_t j = begin; j < end; ++j) {
            p_row[j] = fast_exp(scale * p_row[j] - lse);
            dz_row[j] = p_row[j] * (dz_row[j] - delta) * scale;
          }
          std::fill(p_row + end, p_row + b.keys, 0.0F);
          std::fill(dz_row + end, dz_row + b.keys, 0.0F);
        }
      }
      if (dx[kQ]) {
        multiply_values(s, b, dz, dx[kQ].data() + b.n0 * H * D, dx[kQ].beta != 0.0F);
      }
      if (dx[kKv]) {
        float* part = dkv + task * parts * D;
        gemm_on_this_thread(gemm_weight_grad(b.rows, b.keys, D, p, turned, part, false));
        gemm_on_this_thread(gemm_weight_grad(b.rows, b.keys, D, dz, s.q.row(b.n0), part, true));
      }
    });
  }

  static void add_parts(const Saved& s, std::int64_t first, std::int64_t end, const float* dkv,
                        const GradSlot& out) {
    const std::int64_t D = s.D(), parts = s.max_keys();
    const std::int64_t begin_key = std::max<std::int64_t>(0, first * kBlock - s.window + 1);
    const std::int64_t end_key = std::min(s.N(), end * kBlock);
    for_chunks(end_key - begin_key, [&](Range keys) {
      for (std::int64_t j = begin_key + keys.begin; j < begin_key + keys.end; ++j) {
        const std::int64_t own = j / kBlock;  // the first block that sees the key
        const std::int64_t last = std::min(end - 1, (j + s.window - 1) / kBlock);
        for (std::int64_t i = std::max(own, first); i <= last; ++i) {
          const Block b(s, i);
          if (j < b.k0 || j >= b.n1) continue;
          const float* part = dkv + ((i - first) * parts + j - b.k0) * D;
          write_grad(out.data() + j * D, i == own ? out.beta : 1.0F, D,
                     [=](std::int64_t d) { return part[d]; });
        }
      }
    });
  }
};
const RegisterOp kRegistered{kOpInfo<WindowAttention>};

}  // namespace

Tensor window_attention(Tape& tape, Tensor q, Tensor kv, Tensor sink, Tensor first, Tensor position,
                        RopeTable rope, std::int64_t window) {
  const std::int64_t N = kv.shape.rows(), D = kv.shape.cols(), H = sink.shape.numel();
  CHECK(q.shape.rows() == N && q.shape.cols() == H * D, "window_attention: q ", q.shape,
        " does not fit kv ", kv.shape, " and ", H, " heads");
  CHECK(first.shape.numel() == N && position.shape.numel() == N && window >= 1,
        "window_attention: first ", first.shape, ", position ", position.shape, ", window ",
        window);
  Tensor o = tape.alloc(q.shape);
  const Tensor lse = tape.alloc({N, H});
  tape.apply<WindowAttention>({q, kv, sink, first, position, lse, o, rope, window, H},
                              {q, kv, sink}, {&o});
  return o;
}

}  // namespace shoal

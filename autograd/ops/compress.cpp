#include "autograd/ops/compress.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/vec_math.h"

namespace shoal {
namespace {

struct Compress {
  static constexpr std::string_view kName = "compress";
  enum Input { kX, kApe, kGain };
  struct Saved {
    Tensor x, ape, gain;
    EntryRows rows;
    Tensor pooled, lse;  // [M, D] before the norm; logarithm of the softmax's denominator
    Tensor inv;          // [M]
    RopeTable rope;
    float eps;
    bool overlap;

    std::int64_t M() const { return pooled.shape.rows(); }
    std::int64_t D() const { return gain.shape.numel(); }
    std::int64_t rate() const { return ape.shape.rows(); }
    std::int64_t halves() const { return overlap ? 2 : 1; }
    std::int64_t own_row(std::int64_t i) const { return rows.own_row.as<std::int32_t>()[i]; }
    std::int64_t position(std::int64_t i) const { return rows.position.as<std::int32_t>()[i]; }
  };

  // fn(row, values, gates, ape) for the rows of entry i in order: offsets into x and ape.
  template <class Fn>
  static void for_rows(const Saved& s, std::int64_t i, const Fn& fn) {
    const std::int64_t D = s.D(), width = s.halves() * D, rate = s.rate();
    const auto block = [&](std::int64_t first, std::int64_t half) {
      for (std::int64_t j = 0; j < rate; ++j) {
        const std::int64_t value = (first + j) * 2 * width + half * D;
        fn(value, value + width, j * width + half * D);
      }
    };
    if (s.overlap && s.position(i) > 0) block(s.own_row(i) - rate, 0);
    block(s.own_row(i), s.halves() - 1);
  }

  static void forward(Tape&, const Saved& s, Outputs y) {
    const std::int64_t D = s.D();
    const float *x = s.x.as<float>(), *ape = s.ape.as<float>(), *gain = s.gain.as<float>();
    for_chunks(s.M(), [&](Range entries) {
      auto* top =
          static_cast<float*>(thread_scratch(1, static_cast<std::size_t>(2 * D) * sizeof(float)));
      float* sum = top + D;
      for (std::int64_t i = entries.begin; i < entries.end; ++i) {
        float* p = s.pooled.row(i);
        std::fill_n(top, D, -INFINITY);
        for_rows(s, i, [&](std::int64_t, std::int64_t gate, std::int64_t bias) {
#pragma omp simd
          for (std::int64_t d = 0; d < D; ++d) {
            const float z = x[gate + d] + ape[bias + d];
            top[d] = z > top[d] ? z : top[d];
          }
        });
        std::fill_n(sum, D, 0.0F);
        std::fill_n(p, D, 0.0F);
        for_rows(s, i, [&](std::int64_t value, std::int64_t gate, std::int64_t bias) {
#pragma omp simd
          for (std::int64_t d = 0; d < D; ++d) {
            const float e = fast_exp(x[gate + d] + ape[bias + d] - top[d]);
            sum[d] += e;
            p[d] = std::fma(e, x[value + d], p[d]);
          }
        });
        float* lse = s.lse.row(i);
        for (std::int64_t d = 0; d < D; ++d) lse[d] = top[d] + std::log(sum[d]);
#pragma omp simd
        for (std::int64_t d = 0; d < D; ++d) p[d] /= sum[d];
        const float inv = 1.0F / std::sqrt(sum_squares(p, D) / static_cast<float>(D) + s.eps);
        s.inv.as<float>()[i] = inv;
        float* out = y[0].row(i);
#pragma omp simd
        for (std::int64_t d = 0; d < D; ++d) out[d] = p[d] * inv * gain[d];
        rotate_pairs(out + D - 2 * s.rope.pairs, s.rope.at(s.position(i)), s.rope.pairs, 1.0F);
      }
    });
  }

  // dy turned back and through the norm gives dp; then, per channel (spec 2.9),
  //   dvalue = S dp,   dgate = S (value - p) dp,   dape = sum over entries of dgate
  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t D = s.D(), table = s.rate() * s.halves() * D;
    const auto partial = tape.scratch<float>(kChunks * (table + D));
    if (!tape.is_dry()) std::fill_n(partial.data(), kChunks * (table + D), 0.0F);
    const float *x = s.x.as<float>(), *ape = s.ape.as<float>(), *gain = s.gain.as<float>();
    for_chunks(s.M(), [&](Range entries) {
      float* dape = partial.data() + entries.chunk * (table + D);
      float* dgain = dape + table;
      auto* g = static_cast<float*>(thread_scratch(1, static_cast<std::size_t>(D) * sizeof(float)));
      for (std::int64_t i = entries.begin; i < entries.end; ++i) {
        const float *p = s.pooled.row(i), *lse = s.lse.row(i);
        const float inv = s.inv.as<float>()[i];
        std::copy_n(dy[0].row(i), D, g);
        rotate_pairs(g + D - 2 * s.rope.pairs, s.rope.at(s.position(i)), s.rope.pairs, -1.0F);
#pragma omp simd
        for (std::int64_t d = 0; d < D; ++d) {
          dgain[d] += g[d] * p[d] * inv;
          g[d] *= gain[d];
        }
        const float k = dot(g, p, D) * inv * inv * inv / static_cast<float>(D);
#pragma omp simd
        for (std::int64_t d = 0; d < D; ++d) g[d] = inv * g[d] - k * p[d];
        for_rows(s, i, [&](std::int64_t value, std::int64_t gate, std::int64_t bias) {
          const auto weight = [=](std::int64_t d) {
            return fast_exp(x[gate + d] + ape[bias + d] - lse[d]);
          };
          if (dx[kX]) {
            float* out = dx[kX].data();
            write_grad(out + value, dx[kX].beta, D,
                       [=](std::int64_t d) { return weight(d) * g[d]; });
            write_grad(out + gate, dx[kX].beta, D,
                       [=](std::int64_t d) { return weight(d) * (x[value + d] - p[d]) * g[d]; });
          }
          float* to = dape + bias;
#pragma omp simd
          for (std::int64_t d = 0; d < D; ++d) to[d] += weight(d) * (x[value + d] - p[d]) * g[d];
        });
        if (dx[kX] && dx[kX].beta == 0.0F) clear_after(s, i, dx[kX].data());
      }
    });
    if (tape.is_dry()) return;
    if (dx[kX] && dx[kX].beta == 0.0F) {
      const std::int64_t before = s.M() > 0 ? s.own_row(0) : s.x.shape.rows();
      std::fill_n(dx[kX].data(), before * s.x.shape.cols(), 0.0F);
    }
    const auto sum = [&](const GradSlot& out, std::int64_t from, std::int64_t n) {
      if (!out) return;
      write_grad(out.data(), out.beta, n,
                 [&](std::int64_t j) { return sum_chunks(partial.data() + from + j, table + D); });
    };
    sum(dx[kApe], 0, table);
    sum(dx[kGain], table, D);
  }

  // Zeros for what no entry reads between entry i and the next one: the halves meant for a next
  // block that does not exist, and rows that fill no block.
  static void clear_after(const Saved& s, std::int64_t i, float* dx) {
    const std::int64_t D = s.D(), width = s.x.shape.cols(), own = s.own_row(i), rate = s.rate();
    const bool last = i + 1 == s.M();
    if (s.overlap && (last || s.position(i + 1) == 0)) {
      for (std::int64_t row = own; row < own + rate; ++row) {
        std::fill_n(dx + row * width, D, 0.0F);
        std::fill_n(dx + row * width + width / 2, D, 0.0F);
      }
    }
    const std::int64_t end = last ? s.x.shape.rows() : s.own_row(i + 1);
    std::fill(dx + (own + rate) * width, dx + end * width, 0.0F);
  }
};
const RegisterOp kRegisterCompress{kOpInfo<Compress>};

}  // namespace

Tensor compress(Tape& tape, Tensor x, Tensor ape, Tensor gain, const EntryRows& rows, bool overlap,
                RopeTable rope, float eps) {
  const std::int64_t D = gain.shape.numel(), width = (overlap ? 2 : 1) * D;
  const std::int64_t M = rows.own_row.shape.numel();
  CHECK(x.shape.cols() == 2 * width && ape.shape.cols() == width && 2 * rope.pairs <= D,
        "compress: x ", x.shape, ", ape ", ape.shape, ", gain ", gain.shape,
        overlap ? " with" : " without", " overlap");
  CHECK(rows.position.shape.numel() == M, "compress: own_row ", rows.own_row.shape, ", position ",
        rows.position.shape);
  Tensor y = tape.alloc({M, D});
  const Compress::Saved saved{
      x,    ape, gain,   rows, tape.alloc({M, D}), tape.alloc({M, D}), tape.alloc({M}),
      rope, eps, overlap};
  tape.apply<Compress>(saved, {x, ape, gain}, {&y});
  return y;
}

}  // namespace shoal

#include "autograd/ops/head_norm_rope.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/vec_math.h"

namespace shoal {
namespace {

struct HeadNormRope {
  static constexpr std::string_view kName = "head_norm_rope";
  enum Input { kX, kGain };
  struct Saved {
    Tensor x, gain, position;
    Tensor inv;  // [N, H]
    RopeTable rope;
    std::int64_t D;
    float eps;
    std::int64_t H() const { return x.shape.cols() / D; }
  };

  static void forward(Tape&, const Saved& s, Outputs y) {
    const std::int64_t H = s.H(), D = s.D, nope = D - 2 * s.rope.pairs;
    for_chunks(s.x.shape.rows(), [&](Range rows) {
      const float* gain = s.gain.as<float>();
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        const float* cos_sin = s.rope.at(s.position.as<std::int32_t>()[n]);
        for (std::int64_t h = 0; h < H; ++h) {
          const float* x = s.x.row(n) + h * D;
          float* out = y[0].row(n) + h * D;
          const float inv = 1.0F / std::sqrt(sum_squares(x, D) / static_cast<float>(D) + s.eps);
          s.inv.as<float>()[n * H + h] = inv;
          if (gain != nullptr) {
#pragma omp simd
            for (std::int64_t d = 0; d < D; ++d) out[d] = x[d] * inv * gain[d];
          } else {
#pragma omp simd
            for (std::int64_t d = 0; d < D; ++d) out[d] = x[d] * inv;
          }
          rotate_pairs(out + nope, cos_sin, s.rope.pairs, 1.0F);
        }
      }
    });
  }

  // Turn dy back, then as rms_norm.
  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t H = s.H(), D = s.D, nope = D - 2 * s.rope.pairs;
    const auto partial = tape.scratch<float>(kChunks * D);
    const auto buffer = tape.scratch<float>(kChunks * D);
    if (!tape.is_dry()) std::fill_n(partial.data(), kChunks * D, 0.0F);
    for_chunks(s.x.shape.rows(), [&](Range rows) {
      const float* gain = s.gain.as<float>();
      float* dgain = partial.data() + rows.chunk * D;
      float* g = buffer.data() + rows.chunk * D;
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        const float* cos_sin = s.rope.at(s.position.as<std::int32_t>()[n]);
        for (std::int64_t h = 0; h < H; ++h) {
          const float* x = s.x.row(n) + h * D;
          const float* dy_h = dy[0].row(n) + h * D;
          const float inv = s.inv.as<float>()[n * H + h];
          std::copy(dy_h, dy_h + D, g);
          rotate_pairs(g + nope, cos_sin, s.rope.pairs, -1.0F);
          if (gain != nullptr) {
#pragma omp simd
            for (std::int64_t d = 0; d < D; ++d) {
              dgain[d] += g[d] * x[d] * inv;
              g[d] *= gain[d];
            }
          }
          if (!dx[kX]) continue;
          const float k = dot(g, x, D) * inv * inv * inv / static_cast<float>(D);
          write_grad(dx[kX].data() + (n * H + h) * D, dx[kX].beta, D,
                     [=](std::int64_t d) { return inv * g[d] - k * x[d]; });
        }
      }
    });
    if (dx[kGain] && !tape.is_dry()) {
      write_grad(dx[kGain].data(), dx[kGain].beta, D,
                 [&](std::int64_t d) { return sum_chunks(partial.data() + d, D); });
    }
  }
};
const RegisterOp kRegisterHeadNormRope{kOpInfo<HeadNormRope>};

}  // namespace

Tensor head_norm_rope(Tape& tape, Tensor x, Tensor gain, std::int64_t head_dim, RopeTable rope,
                      Tensor position, float eps) {
  CHECK(x.shape.cols() % head_dim == 0 && 2 * rope.pairs <= head_dim, "head_norm_rope: x ", x.shape,
        " does not fit heads of ", head_dim, " with ", rope.pairs, " rotary pairs");
  CHECK(!gain || gain.shape == Shape{head_dim}, "head_norm_rope: gain ", gain.shape, " needs [",
        head_dim, ']');
  CHECK(position.shape.numel() == x.shape.rows(), "head_norm_rope: position ", position.shape,
        " for x ", x.shape);
  Tensor y = tape.alloc(x.shape);
  const Tensor inv = tape.alloc({x.shape.rows(), x.shape.cols() / head_dim});
  tape.apply<HeadNormRope>({x, gain, position, inv, rope, head_dim, eps}, {x, gain}, {&y});
  return y;
}

}  // namespace shoal

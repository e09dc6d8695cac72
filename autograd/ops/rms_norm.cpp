#include "autograd/ops/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/vec_math.h"

namespace shoal {
namespace {

struct RmsNorm {
  static constexpr std::string_view kName = "rms_norm";
  enum Input { kX, kGain };
  struct Saved {
    Tensor x, gain;
    Tensor inv;  // [N]; N floats that save backward a pass over x
    float eps;
  };

  static void forward(Tape&, const Saved& s, Outputs y) {
    const std::int64_t C = s.x.shape.cols();
    for_chunks(s.x.shape.rows(), [&](Range rows) {
      const float* gain = s.gain.as<float>();
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        const float* x = s.x.row(n);
        float* out = y[0].row(n);
        const float inv = 1.0F / std::sqrt(sum_squares(x, C) / static_cast<float>(C) + s.eps);
        s.inv.as<float>()[n] = inv;
#pragma omp simd
        for (std::int64_t c = 0; c < C; ++c) out[c] = x[c] * inv * gain[c];
      }
    });
  }

  // With g = dy * gain:   dx = inv * g - x * inv^3 * mean_c(g * x),   dgain = sum_n dy * x * inv.
  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t C = s.x.shape.cols();
    const auto partial = tape.scratch<float>(kChunks * C);  // a row per chunk, not per thread
    if (!tape.is_dry()) std::fill_n(partial.data(), kChunks * C, 0.0F);
    for_chunks(s.x.shape.rows(), [&](Range rows) {
      const float* gain = s.gain.as<float>();
      float* dgain = partial.data() + rows.chunk * C;
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        const float* x = s.x.row(n);
        const float* g = dy[0].row(n);
        const float inv = s.inv.as<float>()[n];
        if (dx[kX]) {
          const float k = dot3(g, gain, x, C) * inv * inv * inv / static_cast<float>(C);
          write_grad(dx[kX].data() + n * C, dx[kX].beta, C,
                     [=](std::int64_t c) { return inv * gain[c] * g[c] - k * x[c]; });
        }
#pragma omp simd
        for (std::int64_t c = 0; c < C; ++c) dgain[c] += g[c] * x[c] * inv;
      }
    });
    if (dx[kGain] && !tape.is_dry()) {
      write_grad(dx[kGain].data(), dx[kGain].beta, C,
                 [&](std::int64_t c) { return sum_chunks(partial.data() + c, C); });
    }
  }
};
const RegisterOp kRegisterRmsNorm{kOpInfo<RmsNorm>};

}  // namespace

Tensor rms_norm(Tape& tape, Tensor x, Tensor gain, float eps) {
  const Shape want{x.shape.cols()};
  CHECK(gain.shape == want, "rms_norm: x ", x.shape, " needs gain ", want, ", got ", gain.shape);
  Tensor y = tape.alloc(x.shape);
  tape.apply<RmsNorm>({x, gain, tape.alloc({x.shape.rows()}), eps}, {x, gain}, {&y});
  return y;
}

}  // namespace shoal

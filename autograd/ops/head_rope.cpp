#include "autograd/ops/head_rope.h"

#include <algorithm>

namespace shoal {
namespace {

struct HeadRope {
  static constexpr std::string_view kName = "head_rope";
  struct Saved {
    Tensor x, position;
    RopeTable rope;
    std::int64_t D;
  };

  // One row of heads from `x` to `y`, turned.
  static void turn(const Saved& s, std::int64_t n, const float* x, std::int64_t width, float sign,
                   float* y) {
    const float* cos_sin = s.rope.at(s.position.as<std::int32_t>()[n]);
    std::copy_n(x, width, y);
    for (std::int64_t at = s.D - 2 * s.rope.pairs; at < width; at += s.D) {
      rotate_pairs(y + at, cos_sin, s.rope.pairs, sign);
    }
  }

  static void forward(Tape&, const Saved& s, Outputs y) {
    for_chunks(s.x.shape.rows(), [&](Range rows) {
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        turn(s, n, s.x.row(n), s.x.shape.cols(), 1.0F, y[0].row(n));
      }
    });
  }

  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    if (!dx[0]) return;
    const std::int64_t width = dy[0].shape.cols();
    const auto buffer = tape.scratch<float>(kChunks * width);
    for_chunks(dy[0].shape.rows(), [&](Range rows) {
      float* turned = buffer.data() + rows.chunk * width;
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        turn(s, n, dy[0].row(n), width, -1.0F, turned);
        write_grad(dx[0].data() + n * width, dx[0].beta, width,
                   [=](std::int64_t i) { return turned[i]; });
      }
    });
  }
};
const RegisterOp kRegisterHeadRope{kOpInfo<HeadRope>};

}  // namespace

Tensor head_rope(Tape& tape, Tensor x, std::int64_t head_dim, RopeTable rope, Tensor position) {
  CHECK(x.shape.cols() % head_dim == 0 && 2 * rope.pairs <= head_dim &&
            position.shape.numel() == x.shape.rows(),
        "head_rope: x ", x.shape, " does not fit heads of ", head_dim, " with ", rope.pairs,
        " rotary pairs at ", position.shape.numel(), " positions");
  Tensor y = tape.alloc(x.shape);
  tape.apply<HeadRope>({x, position, rope, head_dim}, {x}, {&y});
  return y;
}

}  // namespace shoal

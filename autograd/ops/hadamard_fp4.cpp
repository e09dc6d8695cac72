#include "autograd/ops/hadamard_fp4.h"

#include "autograd/kernels/fp4.h"
#include "autograd/kernels/hadamard.h"

namespace shoal {
namespace {

struct HadamardFp4 {
  static constexpr std::string_view kName = "hadamard_fp4";
  struct Saved {
    Tensor x;
    std::int64_t D;
    bool round;
  };

  static void forward(Tape&, const Saved& s, Outputs y) {
    const std::int64_t heads = s.x.shape.cols() / s.D;
    for_chunks(s.x.shape.rows(), [&](Range rows) {
      float* to = y[0].row(rows.begin);
      const std::int64_t count = (rows.end - rows.begin) * heads;
      hadamard(s.x.row(rows.begin), count, s.D, to);
      if (s.round) fp4_round(to, count, s.D, to);
    });
  }

  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    if (!dx[0]) return;
    const std::int64_t width = s.x.shape.cols();
    const auto buffer = tape.scratch<float>(kChunks * width);
    for_chunks(s.x.shape.rows(), [&](Range rows) {
      float* turned = buffer.data() + rows.chunk * width;
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        hadamard(dy[0].row(n), width / s.D, s.D, turned);
        write_grad(dx[0].data() + n * width, dx[0].beta, width,
                   [=](std::int64_t i) { return turned[i]; });
      }
    });
  }
};
const RegisterOp kRegisterHadamardFp4{kOpInfo<HadamardFp4>};

}  // namespace

Tensor hadamard_fp4(Tape& tape, Tensor x, std::int64_t head_dim, bool round) {
  CHECK(has_hadamard(head_dim) && x.shape.cols() % head_dim == 0, "hadamard_fp4: x ", x.shape,
        " in heads of ", head_dim);
  Tensor y = tape.alloc(x.shape);
  tape.apply<HadamardFp4>({x, head_dim, round}, {x}, {&y});
  return y;
}

}  // namespace shoal

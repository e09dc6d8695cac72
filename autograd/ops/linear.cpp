#include "autograd/ops/linear.h"

#include <vector>

#include "autograd/base/flop_count.h"
#include "autograd/kernels/gemm.h"

namespace shoal {
namespace {

// Products that go to the threads together; more groups go in several rounds.
constexpr std::int64_t kRound = 64;

// One group is an ordinary linear layer: the same strides, with G = 1.
struct Linear {
  static constexpr std::string_view kName = "linear";
  enum Input { kX, kW };
  struct Saved {
    Tensor x, w;
    std::int64_t G;
    std::int64_t N() const { return x.shape.rows(); }
    std::int64_t I() const { return w.shape.cols(); }
    std::int64_t O() const { return w.shape.rows() / G; }
  };

  static void forward(Tape&, const Saved& s, Outputs y) {
    FlopCount::add_products(1, s.N(), s.G * s.O(), s.I());
    std::array<Gemm, kRound> products;
    std::size_t count = 0;
    for (std::int64_t g = 0; g < s.G; ++g) {
      Gemm& p = products[count++];
      p = gemm_forward(s.N(), s.O(), s.I(), s.x.as<float>() + g * s.I(),
                       s.w.as<float>() + g * s.O() * s.I(), y[0].as<float>() + g * s.O());
      p.a_row = s.G * s.I();
      p.c_row = s.G * s.O();
      if (count < kRound && g + 1 < s.G) continue;
      gemm({products.data(), count});
      count = 0;
    }
  }

  // dx = dy W,  dW = dy^T x
  static void backward(Tape&, const Saved& s, Cotangents dy, GradSlots dx) {
    FlopCount::add_products((dx[kX] ? 1 : 0) + (dx[kW] ? 1 : 0), s.N(), s.G * s.O(), s.I());
    std::array<Gemm, 2 * kRound> products;
    std::size_t count = 0;
    for (std::int64_t g = 0; g < s.G; ++g) {
      const float* x = s.x.as<float>() + g * s.I();
      const float* dy_g = dy[0].as<float>() + g * s.O();
      const std::int64_t block = g * s.O() * s.I();
      if (dx[kX]) {
        Gemm p = gemm_input_grad(s.N(), s.O(), s.I(), dy_g, s.w.as<float>() + block,
                                 dx[kX].data() + g * s.I(), dx[kX].beta != 0.0F);
        p.a_row = s.G * s.O();
        p.c_row = s.G * s.I();
        products[count++] = p;
      }
      if (dx[kW]) {
        Gemm p = gemm_weight_grad(s.N(), s.O(), s.I(), dy_g, x, dx[kW].data() + block,
                                  dx[kW].beta != 0.0F);
        p.a_k = s.G * s.O();
        p.b_k = s.G * s.I();
        products[count++] = p;
      }
      if (count + 2 <= products.size() && g + 1 < s.G) continue;
      gemm({products.data(), count});
      count = 0;
    }
  }
};
const RegisterOp kRegisterLinear{kOpInfo<Linear>};

}  // namespace

Tensor grouped_linear(Tape& tape, Tensor x, Tensor w, std::int64_t groups) {
  CHECK(groups >= 1, "linear: ", groups, " groups");
  CHECK(w.shape.rank == 2 && w.shape.rows() % groups == 0 &&
            x.shape.cols() == groups * w.shape.cols(),
        "linear: x ", x.shape, " does not fit w ", w.shape, " in ", groups, " groups");
  Tensor y = tape.alloc({x.shape.rows(), w.shape.rows()});
  tape.apply<Linear>({x, w, groups}, {x, w}, {&y});
  return y;
}

Tensor linear(Tape& tape, Tensor x, Tensor w) { return grouped_linear(tape, x, w, 1); }

}  // namespace shoal

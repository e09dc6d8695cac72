#include "autograd/ops/hadamard_fp4.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "autograd/kernels/fp4.h"
#include "autograd/ops/round_entries.h"
#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

struct Sizes {
  std::int64_t N, H, D;
};

GRADIENT_CASES(HadamardFp4) {
  std::vector<GradCase> cases;
  for (const Sizes s : {Sizes{1, 1, 1}, Sizes{3, 2, 2}, Sizes{37, 3, 8}, Sizes{5, 1, 64}}) {
    cases.push_back({.name = concat("hadamard N=", s.N, " H=", s.H, " D=", s.D),
                     .inputs = {{s.N, s.H * s.D}},
                     .op =
                         [=](Tape& tape, const std::vector<Tensor>& in) {
                           return std::vector<Tensor>{hadamard_fp4(tape, in[0], s.D, false)};
                         },
                     .reference =
                         [=](const std::vector<Doubles>& in) {
                           Doubles y(in[0].size());
                           const auto D = static_cast<std::size_t>(s.D);
                           for (std::size_t i = 0; i < y.size(); ++i) {
                             for (std::size_t j = 0; j < D; ++j) {
                               const bool odd = std::popcount(i % D & j) % 2 != 0;
                               const double x = in[0][i / D * D + j];
                               y[i] += (odd ? -x : x) / std::sqrt(static_cast<double>(s.D));
                             }
                           }
                           return std::vector<Doubles>{y};
                         }});
  }
  return cases;
}

// Rounding changes the value, and the gradient passes it: the bits of the gradient without it.
TEST(HadamardFp4, RoundsTheValueAndLetsTheGradientThrough) {
  for (const Sizes s : {Sizes{3, 2, 16}, Sizes{70, 2, 64}}) {
    const Shape shape{s.N, s.H * s.D};
    std::vector<float> x(static_cast<std::size_t>(shape.numel())), grad(x.size());
    const Rng rng(6, Purpose::kTest);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
    Param param;
    param.value = {x.data(), shape, DType::kF32, kConstant};
    param.grad = {grad.data(), shape, DType::kF32, kConstant};
    std::vector<float> values[2], grads[2];
    for (const bool round : {false, true}) {
      Tape tape({1 << 26, 1 << 26});
      const Tensor y = hadamard_fp4(tape, tape.leaf(param), s.D, round);
      values[round].assign(y.as<float>(), y.as<float>() + shape.numel());
      const Tensor dy{x.data(), shape, DType::kF32, kConstant};
      tape.seed(y, dy);
      tape.walk_back(0);
      grads[round] = grad;
      tape.end_microbatch();
    }
    fp4_round(values[0].data(), s.N * s.H, s.D, values[0].data());
    EXPECT_EQ(std::memcmp(values[0].data(), values[1].data(), x.size() * sizeof(float)), 0);
    EXPECT_EQ(grads[0], grads[1]);
  }
}

TEST(HadamardFp4, RefusesWidthsWithoutAMatrix) {
  Tape tape({1 << 24, 1 << 24});
  EXPECT_THROW(hadamard_fp4(tape, tape.alloc({5, 12}), 6), Error);
  EXPECT_THROW(hadamard_fp4(tape, tape.alloc({5, 12}), 8), Error);
}

TEST(RoundEntries, LeavesTheLastValuesAndTheIdAsTheyAre) {
  Tape tape({1 << 24, 1 << 24});
  const Tensor x = tape.alloc({9, 100});
  for (std::int64_t i = 0; i < 900; ++i) x.as<float>()[i] = 0.01F * static_cast<float>(i) + 0.003F;
  const Tensor y = round_entries(tape, x, 70);
  EXPECT_EQ(y.id, x.id);
  int changed = 0;
  for (std::int64_t i = 0; i < 900; ++i) {
    const float from = x.as<float>()[i], to = y.as<float>()[i];
    if (i % 100 >= 70) {
      EXPECT_EQ(from, to);
    } else {
      EXPECT_NEAR(to, from, from / 16 + 1e-6);
      changed += from != to ? 1 : 0;
    }
  }
  EXPECT_GT(changed, 300);
}

}  // namespace
}  // namespace shoal::testing

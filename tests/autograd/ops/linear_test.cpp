#include "autograd/ops/linear.h"

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

// y[n, g*O + o] = sum_i x[n, g*I + i] w[g*O + o, i]
std::vector<Doubles> grouped_reference(const std::vector<Doubles>& in, std::int64_t N,
                                       std::int64_t G, std::int64_t I, std::int64_t O) {
  Doubles y;
  for (std::int64_t n = 0; n < N; ++n) {
    for (std::int64_t row = 0; row < G * O; ++row) {
      y.push_back(dot(in[0].data() + (n * G + row / O) * I, in[1].data() + row * I, I));
    }
  }
  return {y};
}

struct Sizes {
  std::int64_t N, G, I, O;
};

GRADIENT_CASES(Linear) {
  std::vector<GradCase> cases;
  for (const Sizes s :
       {Sizes{1, 1, 1, 1}, Sizes{5, 1, 9, 3}, Sizes{1, 1, 33, 17}, Sizes{70, 1, 33, 19},
        Sizes{37, 1, 1, 5}, Sizes{3, 2, 1, 1}, Sizes{7, 3, 5, 2}, Sizes{35, 2, 17, 9}}) {
    const auto [N, G, I, O] = s;
    const auto reference = [s](const std::vector<Doubles>& in) {
      return grouped_reference(in, s.N, s.G, s.I, s.O);
    };
    cases.push_back({.name = concat("grouped_linear N=", N, " G=", G, " I=", I, " O=", O),
                     .inputs = {{N, G * I}, {G * O, I}},
                     .op =
                         [s](Tape& tape, const std::vector<Tensor>& in) {
                           return std::vector<Tensor>{grouped_linear(tape, in[0], in[1], s.G)};
                         },
                     .reference = reference});
    if (G > 1) continue;
    cases.push_back({.name = concat("linear N=", N, " C=", I, " O=", O),
                     .inputs = {{1, N, I}, {O, I}},
                     .op =
                         [](Tape& tape, const std::vector<Tensor>& in) {
                           return std::vector<Tensor>{linear(tape, in[0], in[1])};
                         },
                     .reference = reference});
  }
  return cases;
}

TEST(Linear, RefusesWidthsThatDoNotFit) {
  Tape tape({.arena_bytes = 1 << 20, .grad_bytes = 1 << 20});
  const Tensor x = tape.alloc({4, 6});
  EXPECT_THROW(linear(tape, x, tape.alloc({3, 5})), Error);
  EXPECT_THROW(grouped_linear(tape, x, tape.alloc({4, 6}), 2), Error);
  EXPECT_THROW(grouped_linear(tape, x, tape.alloc({3, 3}), 2), Error);
  EXPECT_EQ(grouped_linear(tape, x, tape.alloc({4, 3}), 2).shape, (Shape{4, 4}));
}

}  // namespace
}  // namespace shoal::testing

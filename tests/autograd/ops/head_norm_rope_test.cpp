#include "autograd/ops/head_norm_rope.h"

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

struct Sizes {
  std::int64_t N, H, D, pairs;
  bool gain;
};

GRADIENT_CASES(HeadNormRope) {
  std::vector<GradCase> cases;
  for (const Sizes s :
       {Sizes{1, 1, 2, 1, true}, Sizes{5, 3, 7, 2, true}, Sizes{5, 3, 8, 4, false},
        Sizes{37, 2, 5, 0, true}, Sizes{40, 1, 6, 3, true}, Sizes{3, 4, 33, 5, false}}) {
    const float eps = 1e-3F;
    const auto rope = std::make_shared<Rope>(s.pairs, 50);
    const Integers position = random_integers(s.N, 50, 5);
    GradCase c{.name = concat("head_norm_rope N=", s.N, " H=", s.H, " D=", s.D, " pairs=", s.pairs,
                              s.gain ? " with gain" : " without gain"),
               .inputs = {{s.N, s.H * s.D}},
               .op =
                   [=](Tape& tape, const std::vector<Tensor>& in) {
                     return std::vector<Tensor>{
                         head_norm_rope(tape, in[0], s.gain ? in[1] : Tensor{}, s.D, rope->table(),
                                        integers(tape, position), eps)};
                   },
               .reference =
                   [=](const std::vector<Doubles>& in) {
                     Doubles y = in[0];
                     for (std::int64_t i = 0; i < s.N * s.H; ++i) {
                       double* z = y.data() + i * s.D;
                       const double inv =
                           1.0 / std::sqrt(dot(z, z, s.D) / static_cast<double>(s.D) + eps);
                       for (std::int64_t d = 0; d < s.D; ++d) {
                         z[d] *= inv * (s.gain ? in[1][static_cast<std::size_t>(d)] : 1.0);
                       }
                       rope->turn(z, s.D, position[static_cast<std::size_t>(i / s.H)], 1.0);
                     }
                     return std::vector<Doubles>{y};
                   }};
    if (s.gain) c.inputs.push_back({s.D});
    cases.push_back(c);
  }
  return cases;
}

}  // namespace
}  // namespace shoal::testing

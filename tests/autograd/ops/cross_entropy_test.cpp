#include "autograd/ops/cross_entropy.h"

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

struct Sizes {
  std::int64_t N, C, V;
};

GRADIENT_CASES(CrossEntropy) {
  std::vector<GradCase> cases;
  // The largest vocabulary does not fit one slice.
  for (const Sizes s :
       {Sizes{1, 1, 1}, Sizes{1, 1, 2}, Sizes{5, 3, 7}, Sizes{41, 5, 19}, Sizes{3, 1, 1031}}) {
    Integers targets = random_integers(s.N, static_cast<std::int32_t>(s.V), 13);
    if (s.N > 2) targets[1] = -1;
    targets.back() = static_cast<std::int32_t>(s.V) - 1;
    cases.push_back({.name = concat("cross_entropy N=", s.N, " C=", s.C, " V=", s.V),
                     .inputs = {{s.N, s.C}, {s.V, s.C}},
                     .op =
                         [=](Tape& tape, const std::vector<Tensor>& in) {
                           return std::vector<Tensor>{
                               cross_entropy(tape, in[0], in[1], integers(tape, targets))};
                         },
                     .reference =
                         [=](const std::vector<Doubles>& in) {
                           double loss = 0.0;
                           for (std::int64_t n = 0; n < s.N; ++n) {
                             const std::int32_t target = targets[static_cast<std::size_t>(n)];
                             if (target < 0) continue;
                             double sum = 0.0, own = 0.0;
                             for (std::int64_t v = 0; v < s.V; ++v) {
                               const double z =
                                   dot(in[0].data() + n * s.C, in[1].data() + v * s.C, s.C);
                               sum += std::exp(z);
                               if (v == target) own = z;
                             }
                             loss += std::log(sum) - own;
                           }
                           return std::vector<Doubles>{{loss}};
                         }});
  }
  return cases;
}

}  // namespace
}  // namespace shoal::testing

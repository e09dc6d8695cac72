#include "autograd/ops/rms_norm.h"

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

GRADIENT_CASES(RmsNorm) {
  std::vector<GradCase> cases;
  // At one column y = x / |x| * gain but for eps, so eps has to be large to leave a gradient.
  for (const auto& [x, eps] : {std::pair(Shape{1, 1}, 0.5F), std::pair(Shape{4, 1}, 0.5F),
                               std::pair(Shape{1, 7}, 1e-5F), std::pair(Shape{5, 9}, 1e-5F),
                               std::pair(Shape{2, 3, 8}, 1e-2F), std::pair(Shape{70, 33}, 1e-5F)}) {
    cases.push_back({.name = concat("rms_norm ", x),
                     .inputs = {x, {x.cols()}},
                     .op =
                         [eps = eps](Tape& tape, const std::vector<Tensor>& in) {
                           return std::vector<Tensor>{rms_norm(tape, in[0], in[1], eps)};
                         },
                     .reference =
                         [C = x.cols(), eps = eps](const std::vector<Doubles>& in) {
                           Doubles y = in[0];
                           for (std::size_t first = 0; first < y.size();
                                first += static_cast<std::size_t>(C)) {
                             double* row = &y[first];
                             const double inv =
                                 1.0 / std::sqrt(dot(row, row, C) / static_cast<double>(C) + eps);
                             for (std::int64_t c = 0; c < C; ++c)
                               row[c] *= inv * in[1][static_cast<std::size_t>(c)];
                           }
                           return std::vector<Doubles>{y};
                         }});
  }
  return cases;
}

}  // namespace
}  // namespace shoal::testing

#include "autograd/ops/elementwise.h"

#include <array>

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

GRADIENT_CASES(Elementwise) {
  std::vector<GradCase> cases;
  for (const Shape& shape : {Shape{1}, Shape{5, 9}, Shape{2, 3, 7}}) {
    cases.push_back({.name = concat("add ", shape),
                     .inputs = {shape, shape},
                     .op =
                         [](Tape& tape, const std::vector<Tensor>& in) {
                           return std::vector<Tensor>{add(tape, in[0], in[1])};
                         },
                     .reference =
                         [](const std::vector<Doubles>& in) {
                           std::vector<Doubles> y{in[0]};
                           for (std::size_t i = 0; i < y[0].size(); ++i) y[0][i] += in[1][i];
                           return y;
                         }});
  }
  for (const Shape& x : {Shape{1, 1, 1}, Shape{5, 4, 3}, Shape{37, 2, 9}}) {
    cases.push_back({.name = concat("add_to_streams ", x),
                     .inputs = {x, {x[0], x[2]}},
                     .op =
                         [](Tape& tape, const std::vector<Tensor>& in) {
                           return std::vector<Tensor>{add_to_streams(tape, in[0], in[1])};
                         },
                     .reference =
                         [x](const std::vector<Doubles>& in) {
                           std::vector<Doubles> y{in[0]};
                           for (std::int64_t i = 0; i < x.numel(); ++i) {
                             const std::int64_t n = i / (x[1] * x[2]), c = i % x[2];
                             y[0][static_cast<std::size_t>(i)] +=
                                 in[1][static_cast<std::size_t>(n * x[2] + c)];
                           }
                           return y;
                         }});
  }
  cases.push_back({.name = "weighted_sum with a term left out",
                   .inputs = {{1}, {1}, {1}},
                   .op =
                       [](Tape& tape, const std::vector<Tensor>& in) {
                         const std::array<Term, 4> terms{
                             {{in[0], 1.0F}, {in[1], 0.3F}, {Tensor{}, 5.0F}, {in[2], -2.0F}}};
                         return std::vector<Tensor>{weighted_sum(tape, terms)};
                       },
                   .reference =
                       [](const std::vector<Doubles>& in) {
                         return std::vector<Doubles>{{in[0][0] + 0.3 * in[1][0] - 2.0 * in[2][0]}};
                       }});
  return cases;
}

}  // namespace
}  // namespace shoal::testing

#include "autograd/ops/embedding.h"

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

struct Sizes {
  std::int64_t V, C, N, streams;
};

GRADIENT_CASES(Embedding) {
  std::vector<GradCase> cases;
  // Few tokens of a large table leave rows unread; many of a small one read each often.
  for (const Sizes s :
       {Sizes{1, 1, 1, 1}, Sizes{9, 5, 4, 1}, Sizes{3, 7, 50, 4}, Sizes{41, 3, 17, 2}}) {
    const auto tokens = random_integers(s.N, static_cast<std::int32_t>(s.V), 3);
    cases.push_back(
        {.name = concat("embedding V=", s.V, " C=", s.C, " N=", s.N, " streams=", s.streams),
         .inputs = {{s.V, s.C}},
         .op =
             [=](Tape& tape, const std::vector<Tensor>& in) {
               return std::vector<Tensor>{
                   embedding(tape, in[0], integers(tape, tokens), s.streams)};
             },
         .reference =
             [=](const std::vector<Doubles>& in) {
               std::vector<Doubles> y(1);
               for (const std::int32_t token : tokens) {
                 for (std::int64_t i = 0; i < s.streams * s.C; ++i) {
                   y[0].push_back(in[0][static_cast<std::size_t>(token * s.C + i % s.C)]);
                 }
               }
               return y;
             }});
  }
  return cases;
}

}  // namespace
}  // namespace shoal::testing

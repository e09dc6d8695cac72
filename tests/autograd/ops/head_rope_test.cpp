#include "autograd/ops/head_rope.h"

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

struct Sizes {
  std::int64_t N, H, D, pairs;
};

GRADIENT_CASES(HeadRope) {
  std::vector<GradCase> cases;
  for (const Sizes s : {Sizes{1, 1, 1, 0}, Sizes{1, 1, 2, 1}, Sizes{5, 3, 7, 2}, Sizes{37, 2, 5, 0},
                        Sizes{40, 1, 6, 3}, Sizes{3, 4, 33, 5}}) {
    const auto rope = std::make_shared<Rope>(s.pairs, 50);
    const Integers position = random_integers(s.N, 50, 5);
    cases.push_back(
        {.name = concat("head_rope N=", s.N, " H=", s.H, " D=", s.D, " pairs=", s.pairs),
         .inputs = {{s.N, s.H * s.D}},
         .op =
             [=](Tape& tape, const std::vector<Tensor>& in) {
               return std::vector<Tensor>{
                   head_rope(tape, in[0], s.D, rope->table(), integers(tape, position))};
             },
         .reference =
             [=](const std::vector<Doubles>& in) {
               Doubles y = in[0];
               for (std::int64_t i = 0; i < s.N * s.H; ++i) {
                 rope->turn(y.data() + i * s.D, s.D, position[static_cast<std::size_t>(i / s.H)],
                            1.0);
               }
               return std::vector<Doubles>{y};
             }});
  }
  return cases;
}

TEST(HeadRope, RefusesShapesThatDoNotFit) {
  Tape tape({1 << 24, 1 << 24});
  const Tensor x = tape.alloc({5, 6}), rows = tape.alloc({5}, DType::kI32);
  const Rope rope(2, 9);
  EXPECT_THROW(head_rope(tape, x, 4, rope.table(), rows), Error);
  EXPECT_THROW(head_rope(tape, x, 3, rope.table(), rows), Error);
  EXPECT_THROW(head_rope(tape, x, 6, rope.table(), tape.alloc({4}, DType::kI32)), Error);
}

}  // namespace
}  // namespace shoal::testing

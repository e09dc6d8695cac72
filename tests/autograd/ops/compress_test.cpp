#include "autograd/ops/compress.h"

#include "tests/autograd/ops/documents.h"

namespace shoal::testing {
namespace {

struct Sizes {
  const char* what;
  std::int64_t N, D, pairs, rate;
  bool overlap;
  Integers starts;
};

constexpr double kEps = 0.01;

Doubles reference(const std::vector<Doubles>& in, const Sizes& s, const Rope& rope,
                  const Blocks& blocks) {
  const std::int64_t D = s.D, halves = s.overlap ? 2 : 1, width = halves * D;
  const Doubles &x = in[0], &ape = in[1], &gain = in[2];
  Doubles y = zeros(blocks.size() * D);
  for (std::int64_t i = 0; i < blocks.size(); ++i) {
    const std::int64_t own = blocks.own_row[static_cast<std::size_t>(i)];
    const std::int64_t position = blocks.position[static_cast<std::size_t>(i)];
    double* p = y.data() + i * D;
    for (std::int64_t d = 0; d < D; ++d) {
      double below = 0.0;
      const auto take = [&](std::int64_t row, std::int64_t j, std::int64_t half) {
        const auto at = [&](std::int64_t k) { return static_cast<std::size_t>(k); };
        const double value = x[at(row * 2 * width + half * D + d)];
        const double gate = x[at(row * 2 * width + width + half * D + d)];
        const double e = std::exp(gate + ape[at(j * width + half * D + d)]);
        p[d] += e * value;
        below += e;
      };
      for (std::int64_t j = 0; j < s.rate; ++j) {
        if (s.overlap && position > 0) take(own - s.rate + j, j, 0);
        take(own + j, j, halves - 1);
      }
      p[d] /= below;
    }
    const double inv = 1.0 / std::sqrt(dot(p, p, D) / static_cast<double>(D) + kEps);
    for (std::int64_t d = 0; d < D; ++d) p[d] *= inv * gain[static_cast<std::size_t>(d)];
    rope.turn(p, D, position, 1.0);
  }
  return y;
}

GRADIENT_CASES(Compress) {
  std::vector<GradCase> cases;
  for (const Sizes& s : {
           Sizes{"one row", 1, 1, 0, 1, false, {0}},
           Sizes{"one row that no entry needs", 1, 2, 1, 2, true, {0}},
           Sizes{"one block", 2, 3, 1, 2, false, {0}},
           Sizes{"one block with overlap", 2, 3, 1, 2, true, {0}},
           Sizes{"trailing rows", 11, 4, 2, 3, false, {0}},
           Sizes{"trailing rows with overlap", 11, 4, 2, 3, true, {0}},
           Sizes{"no trailing row", 12, 5, 1, 4, true, {0}},
           Sizes{"documents", 29, 3, 1, 4, false, {0, 5, 6, 8, 16, 17}},
           Sizes{"documents with overlap", 29, 3, 1, 4, true, {0, 5, 6, 8, 16, 17}},
           Sizes{"short first and last document", 14, 2, 0, 3, true, {0, 2, 13}},
           Sizes{"every document too short", 9, 2, 1, 4, true, {0, 3, 6}},
           Sizes{"no entry", 3, 2, 1, 4, false, {0}},
           Sizes{"more entries than chunks", 83, 2, 1, 2, true, {0, 40}},
           Sizes{"wide", 9, 21, 5, 2, true, {0}},
       }) {
    const auto blocks = std::make_shared<Blocks>(Documents(s.N, s.starts), s.rate);
    const auto rope = std::make_shared<Rope>(s.pairs, s.N);
    const std::int64_t width = (s.overlap ? 2 : 1) * s.D;
    cases.push_back(
        {.name = concat("compress, ", s.what, ", N=", s.N, " D=", s.D, " rate=", s.rate),
         .inputs = {{s.N, 2 * width}, {s.rate, width}, {s.D}},
         .op =
             [=](Tape& tape, const std::vector<Tensor>& in) {
               const EntryRows rows{integers(tape, blocks->own_row),
                                    integers(tape, blocks->position)};
               return std::vector<Tensor>{compress(tape, in[0], in[1], in[2], rows, s.overlap,
                                                   rope->table(), static_cast<float>(kEps))};
             },
         .reference =
             [=](const std::vector<Doubles>& in) {
               return std::vector<Doubles>{reference(in, s, *rope, *blocks)};
             }});
  }
  return cases;
}

// Gates far from zero: the softmax subtracts its largest one.
TEST(Compress, LargeGatesDoNotOverflow) {
  Tape tape({1 << 24, 1 << 24});
  const Tensor x = tape.alloc({4, 2}), ape = tape.alloc({2, 1}), gain = tape.alloc({1});
  const float values[] = {1, 300, 5, -300, 2, -400, 7, -399};  // value, gate of each row
  std::copy(std::begin(values), std::end(values), x.as<float>());
  std::fill_n(ape.as<float>(), 2, 0.0F);
  gain.as<float>()[0] = 1.0F;
  const EntryRows rows{integers(tape, {0, 2}), integers(tape, {0, 2})};
  const Tensor y = compress(tape, x, ape, gain, rows, false, {}, 1.0F);
  EXPECT_NEAR(y.as<float>()[0], 1.0 / std::sqrt(2.0), 1e-6);  // all weight on the first row
  const double p = (2.0 + 7.0 * std::exp(1.0)) / (1.0 + std::exp(1.0));
  EXPECT_NEAR(y.as<float>()[1], p / std::sqrt(p * p + 1.0), 1e-6);
}

TEST(Compress, RefusesShapesThatDoNotFit) {
  Tape tape({1 << 24, 1 << 24});
  const Tensor x = tape.alloc({6, 12}), gain = tape.alloc({3});
  const Tensor one = tape.alloc({2, 3}), two = tape.alloc({2, 6});
  const Integers zero{0};
  const EntryRows rows{integers(tape, zero), integers(tape, zero)};
  const Rope rope(2, 9);
  EXPECT_THROW(compress(tape, x, two, gain, rows, false, {}, 1.0F), Error);
  EXPECT_THROW(compress(tape, x, one, gain, rows, true, {}, 1.0F), Error);
  EXPECT_THROW(compress(tape, x, two, gain, rows, true, rope.table(), 1.0F), Error);
  EXPECT_THROW(compress(tape, x, two, gain, {rows.own_row, integers(tape, {0, 2})}, true, {}, 1.0F),
               Error);
}

}  // namespace
}  // namespace shoal::testing

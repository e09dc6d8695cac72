#include "autograd/ops/window_attention.h"

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

struct Sizes {
  std::int64_t N, H, D, pairs, window;
  std::vector<std::int32_t> starts;  // first rows of documents
};

std::vector<Doubles> reference(const std::vector<Doubles>& in, const Sizes& s, const Rope& rope,
                               const Integers& first, const Integers& position) {
  const auto [N, H, D] = std::tuple(s.N, s.H, s.D);
  Doubles o = zeros(N * H * D);
  for (std::int64_t n = 0; n < N; ++n) {
    const std::int64_t begin =
        std::max<std::int64_t>(first[static_cast<std::size_t>(n)], n - s.window + 1);
    for (std::int64_t h = 0; h < H; ++h) {
      const double* q = in[0].data() + (n * H + h) * D;
      double* out = o.data() + (n * H + h) * D;
      double total = std::exp(in[2][static_cast<std::size_t>(h)]);
      for (std::int64_t j = begin; j <= n; ++j) {
        const double* kv = in[1].data() + j * D;
        const double weight = std::exp(dot(q, kv, D) / std::sqrt(static_cast<double>(D)));
        total += weight;
        for (std::int64_t d = 0; d < D; ++d) out[d] += weight * kv[d];
      }
      for (std::int64_t d = 0; d < D; ++d) out[d] /= total;
      rope.turn(out, D, position[static_cast<std::size_t>(n)], -1.0);
    }
  }
  return {o};
}

GRADIENT_CASES(WindowAttention) {
  std::vector<GradCase> cases;
  for (const Sizes& s : {Sizes{1, 1, 1, 0, 1, {0}}, Sizes{5, 3, 2, 1, 1, {0}},
                         Sizes{7, 2, 5, 2, 100, {0, 3}}, Sizes{70, 2, 4, 1, 5, {0}},
                         Sizes{67, 1, 3, 1, 40, {0, 1, 30, 66}}, Sizes{33, 1, 8, 4, 32, {0, 20}}}) {
    Integers first, position;
    for (std::int32_t n = 0; n < s.N; ++n) {
      first.push_back(*std::prev(std::upper_bound(s.starts.begin(), s.starts.end(), n)));
      position.push_back(n - first.back());
    }
    const auto rope = std::make_shared<Rope>(s.pairs, s.N);
    cases.push_back({.name = concat("window_attention N=", s.N, " H=", s.H, " D=", s.D,
                                    " window=", s.window, " documents=", s.starts.size()),
                     .inputs = {{s.N, s.H * s.D}, {s.N, s.D}, {s.H}},
                     .op =
                         [=](Tape& tape, const std::vector<Tensor>& in) {
                           return std::vector<Tensor>{
                               window_attention(tape, in[0], in[1], in[2], integers(tape, first),
                                                integers(tape, position), rope->table(), s.window)};
                         },
                     .reference =
                         [=](const std::vector<Doubles>& in) {
                           return reference(in, s, *rope, first, position);
                         }});
  }
  return cases;
}

}  // namespace
}  // namespace shoal::testing

#include "autograd/ops/experts.h"

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

struct Sizes {
  std::int64_t N, C, F, E, K;
  bool shared;
  float limit;
};

// expert_e(x), added to out with a weight
void add_expert(const Sizes& s, std::int64_t e, const double* x, const Doubles& w13,
                const Doubles& w2, double weight, double* out) {
  const double limit = s.limit > 0 ? s.limit : 1e300;
  Doubles hidden;
  for (std::int64_t f = 0; f < s.F; ++f) {
    const double* w1 = w13.data() + (e * 2 * s.F + f) * s.C;
    const double gate = std::min(dot(x, w1, s.C), limit);
    const double up = std::clamp(dot(x, w1 + s.F * s.C, s.C), -limit, limit);
    hidden.push_back(gate * sigmoid(gate) * up);
  }
  for (std::int64_t c = 0; c < s.C; ++c) {
    out[c] += weight * dot(hidden.data(), w2.data() + (e * s.C + c) * s.F, s.F);
  }
}

GradCase case_of(const Sizes& s) {
  Integers chosen;  // K different ones a token; the last expert stays unused where E > K
  const Rng rng(9, Purpose::kTest, 77);
  for (std::int64_t n = 0; n < s.N && s.K > 0; ++n) {
    const std::int64_t used = std::max(s.K, s.E - 1);
    const auto shift = static_cast<std::int64_t>(
        rng.below(static_cast<std::uint64_t>(n), static_cast<std::uint64_t>(used)));
    for (std::int64_t k = 0; k < s.K; ++k) {
      chosen.push_back(static_cast<std::int32_t>((shift + k) % used));
    }
  }
  const bool routed = s.K > 0;
  // x, then gates, w13 and w2 of the routed ones, then w13 and w2 of the shared one
  std::vector<Shape> inputs = {{s.N, s.C}};
  if (routed) {
    inputs.insert(inputs.end(), {{s.N, s.K}, {s.E, 2 * s.F, s.C}, {s.E, s.C, s.F}});
  }
  const std::size_t shared = inputs.size();
  if (s.shared) inputs.insert(inputs.end(), {{1, 2 * s.F, s.C}, {1, s.C, s.F}});
  return {
      .name = concat("experts N=", s.N, " C=", s.C, " F=", s.F, " E=", s.E, " K=", s.K,
                     s.shared ? " shared" : "", " limit=", s.limit),
      .inputs = inputs,
      .op =
          [=](Tape& tape, const std::vector<Tensor>& in) {
            const ExpertWeights of_tokens = routed ? ExpertWeights{in[2], in[3]} : ExpertWeights{};
            const ExpertWeights of_all =
                s.shared ? ExpertWeights{in[shared], in[shared + 1]} : ExpertWeights{};
            return std::vector<Tensor>{
                experts(tape, in[0], routed ? in[1] : Tensor{},
                        routed ? integers(tape, chosen, {s.N, s.K}) : Tensor{}, of_tokens, of_all,
                        s.limit)
                    .y};
          },
      .reference =
          [=](const std::vector<Doubles>& in) {
            Doubles y = zeros(s.N * s.C);
            for (std::int64_t n = 0; n < s.N; ++n) {
              const double* x = in[0].data() + n * s.C;
              double* out = y.data() + n * s.C;
              for (std::int64_t k = 0; k < s.K; ++k) {
                const auto slot = static_cast<std::size_t>(n * s.K + k);
                add_expert(s, chosen[slot], x, in[2], in[3], in[1][slot], out);
              }
              if (s.shared) add_expert(s, 0, x, in[shared], in[shared + 1], 1.0, out);
            }
            return std::vector<Doubles>{y};
          },
      .same_tensor = false};  // tokens and gates, both 1 by 1
}

GRADIENT_CASES(Experts) {
  std::vector<GradCase> cases;
  for (const Sizes& s : {Sizes{1, 1, 1, 1, 1, false, 0}, Sizes{4, 3, 5, 0, 0, true, 0},
                         Sizes{5, 3, 2, 3, 2, false, 0}, Sizes{9, 5, 3, 4, 2, true, 0.7F},
                         Sizes{40, 2, 3, 3, 1, true, 10.0F}, Sizes{2, 7, 9, 6, 3, true, 0.3F}}) {
    cases.push_back(case_of(s));
  }
  return cases;
}

}  // namespace
}  // namespace shoal::testing

#include "autograd/ops/hyper_connection.h"

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

constexpr float kNormEps = 1e-5F;

// The equations of spec 4.1, one token at a time. Outputs: read, and but for the head post, comb.
std::vector<Doubles> collapse_reference(const std::vector<Doubles>& in, const MixingShape& shape,
                                        std::int64_t N, std::int64_t C) {
  const std::int64_t n = shape.streams, J = shape.columns(), width = n * C;
  const bool head = shape.kind == Mixing::kHead, raw = shape.kind == Mixing::kHyper;
  Doubles read = zeros(N * C), post, comb;
  for (std::int64_t t = 0; t < N; ++t) {
    const double* v = in[0].data() + t * width;
    const double r = 1.0 / std::sqrt(dot(v, v, width) / static_cast<double>(width) + kNormEps);
    Doubles a;  // scale * u + base
    for (std::int64_t j = 0; j < J; ++j) {
      const std::size_t which = j < n ? 0 : j < 2 * n ? 1 : 2;
      a.push_back(in[3][which] * r * dot(v, in[1].data() + j * width, width) +
                  in[2][static_cast<std::size_t>(j)]);
    }
    const auto A = [&](std::int64_t j) { return a[static_cast<std::size_t>(j)]; };
    for (std::int64_t j = 0; j < n; ++j) {
      const double pre = raw ? A(j) : sigmoid(A(j)) + shape.eps;
      for (std::int64_t c = 0; c < C; ++c) {
        read[static_cast<std::size_t>(t * C + c)] += pre * v[j * C + c];
      }
    }
    if (head) continue;
    for (std::int64_t k = 0; k < n; ++k) post.push_back(raw ? A(n + k) : 2 * sigmoid(A(n + k)));
    Doubles m(a.begin() + 2 * n, a.end());
    const auto M = [&](std::int64_t j, std::int64_t k) -> double& {
      return m[static_cast<std::size_t>(j * n + k)];
    };
    const auto normalise = [&](bool columns, double eps) {
      for (std::int64_t i = 0; i < n; ++i) {
        double sum = eps;
        for (std::int64_t j = 0; j < n; ++j) sum += columns ? M(j, i) : M(i, j);
        for (std::int64_t j = 0; j < n; ++j) (columns ? M(j, i) : M(i, j)) /= sum;
      }
    };
    if (!raw) {
      for (double& x : m) x = std::exp(x);
      normalise(false, 0.0);
      for (double& x : m) x += shape.eps;
      normalise(true, shape.eps);
      for (std::int64_t i = 1; i < shape.iterations; ++i) {
        normalise(false, shape.eps);
        normalise(true, shape.eps);
      }
    }
    comb.insert(comb.end(), m.begin(), m.end());
  }
  if (head) return {read};
  return {read, post, comb};
}

struct Sizes {
  std::int64_t N, n, C, iterations;
};

GRADIENT_CASES(HcCollapse) {
  std::vector<GradCase> cases;
  for (const Mixing kind : {Mixing::kManifold, Mixing::kHyper, Mixing::kHead}) {
    for (const Sizes s : {Sizes{1, 1, 1, 1}, Sizes{3, 1, 5, 20}, Sizes{5, 2, 3, 20},
                          Sizes{9, 4, 7, 20}, Sizes{41, 3, 2, 3}, Sizes{2, 8, 3, 20}}) {
      const MixingShape shape{kind, s.n, s.iterations, 1e-6F};
      const std::int64_t J = shape.columns();
      cases.push_back(
          {.name = concat("hc_collapse kind=", static_cast<int>(kind), " N=", s.N, " n=", s.n,
                          " C=", s.C, " iterations=", s.iterations),
           .inputs = {{s.N, s.n, s.C}, {J, s.n * s.C}, {J}, {kind == Mixing::kHead ? 1 : 3}},
           .op =
               [=](Tape& tape, const std::vector<Tensor>& in) {
                 const StreamMix mix =
                     hc_collapse(tape, in[0], in[1], in[2], in[3], shape, kNormEps);
                 if (shape.kind == Mixing::kHead) return std::vector<Tensor>{mix.read};
                 return std::vector<Tensor>{mix.read, mix.post, mix.comb};
               },
           .reference =
               [=](const std::vector<Doubles>& in) {
                 return collapse_reference(in, shape, s.N, s.C);
               },
           .values = {{1, normal(0.3)}, {3, normal(0.5, 0.5)}}});
    }
  }
  return cases;
}

GRADIENT_CASES(HcExpand) {
  std::vector<GradCase> cases;
  for (const Sizes s : {Sizes{1, 1, 1, 0}, Sizes{5, 2, 3, 0}, Sizes{37, 4, 9, 0},
                        Sizes{3, 3, 17, 0}, Sizes{2, 8, 5, 0}}) {
    const auto [N, n, C, unused] = s;
    cases.push_back({.name = concat("hc_expand N=", N, " n=", n, " C=", C),
                     .inputs = {{N, n, C}, {N, C}, {N, n}, {N, n, n}},
                     .op =
                         [](Tape& tape, const std::vector<Tensor>& in) {
                           return std::vector<Tensor>{hc_expand(tape, in[0], in[1], in[2], in[3])};
                         },
                     .reference =
                         [s](const std::vector<Doubles>& in) {
                           Doubles y;
                           for (std::int64_t t = 0; t < s.N; ++t) {
                             for (std::int64_t k = 0; k < s.n; ++k) {
                               for (std::int64_t c = 0; c < s.C; ++c) {
                                 y.push_back(in[2][static_cast<std::size_t>(t * s.n + k)] *
                                                 in[1][static_cast<std::size_t>(t * s.C + c)] +
                                             dot(in[3].data() + t * s.n * s.n + k,
                                                 in[0].data() + t * s.n * s.C + c, s.n, s.n, s.C));
                               }
                             }
                           }
                           return std::vector<Doubles>{y};
                         }});
  }
  return cases;
}

}  // namespace
}  // namespace shoal::testing

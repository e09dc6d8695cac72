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

// Finite differences are too slow for so many rows: the gradients of three parts add up to those of
// the whole, which is cut into pieces and blocks of its own.
TEST(HcCollapse, GradientsOfManyRowsAddUp) {
  constexpr std::int64_t N = 600, n = 3, C = 37;
  const MixingShape shape{Mixing::kManifold, n, 20, 1e-6F};
  const std::int64_t J = shape.columns();
  const std::array<Shape, 4> shapes{Shape{N, n, C}, {J, n * C}, {J}, {3}};
  std::array<std::vector<float>, 4> values;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const auto value = normal(i == 1 ? 0.3 : 1.0, 0.0, i);
    for (std::int64_t k = 0; k < shapes[i].numel(); ++k) {
      values[i].push_back(static_cast<float>(value(k)));
    }
  }
  const auto run = [&](std::int64_t parts) {
    std::array<std::vector<float>, 4> grads;
    std::array<Param, 4> params;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      grads[i].assign(values[i].size(), std::nanf(""));
      params[i].value = {values[i].data(), shapes[i], DType::kF32, kConstant};
      params[i].grad = {grads[i].data(), shapes[i], DType::kF32, kConstant};
    }
    Tape tape({1 << 28, 1 << 28});
    std::array<Tensor, 4> in;
    for (std::size_t i = 1; i < in.size(); ++i) in[i] = tape.leaf(params[i]);
    std::vector<Param> x(static_cast<std::size_t>(parts));
    const std::int64_t rows = N / parts;
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t first = part * rows * n * C;
      Param& p = x[static_cast<std::size_t>(part)];
      p.value = {values[0].data() + first, {rows, n, C}, DType::kF32, kConstant};
      p.grad = {grads[0].data() + first, {rows, n, C}, DType::kF32, kConstant};
      const StreamMix mix = hc_collapse(tape, tape.leaf(p), in[1], in[2], in[3], shape, kNormEps);
      tape.seed(mix.read, mix.read);
      tape.seed(mix.post, mix.post);
    }
    tape.walk_back(0);
    tape.end_microbatch();
    return grads;
  };
  const auto whole = run(1), sum = run(3);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    for (std::size_t k = 0; k < whole[i].size(); ++k) {
      ASSERT_NEAR(whole[i][k], sum[i][k], 2e-4 * (1.0 + std::abs(sum[i][k]))) << i << ' ' << k;
    }
  }
}

Doubles expand_reference(const std::vector<Doubles>& in, const Sizes& s) {
  Doubles y;
  for (std::int64_t t = 0; t < s.N; ++t) {
    for (std::int64_t k = 0; k < s.n; ++k) {
      for (std::int64_t c = 0; c < s.C; ++c) {
        y.push_back(
            in[2][static_cast<std::size_t>(t * s.n + k)] *
                in[1][static_cast<std::size_t>(t * s.C + c)] +
            dot(in[3].data() + t * s.n * s.n + k, in[0].data() + t * s.n * s.C + c, s.n, s.n, s.C));
      }
    }
  }
  return y;
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
                           return std::vector<Doubles>{expand_reference(in, s)};
                         }});
  }
  return cases;
}

// Streams, what a sublayer made of them, its mixing weights and the next one's parameters.
std::vector<Shape> step_shapes(const Sizes& s, const MixingShape& shape) {
  const std::int64_t J = shape.columns();
  return {{s.N, s.n, s.C}, {s.N, s.C}, {s.N, s.n}, {s.N, s.n, s.n}, {J, s.n * s.C}, {J}, {3}};
}
std::vector<Tensor> both(Tape& tape, const std::vector<Tensor>& in, const MixingShape& shape) {
  const StreamStep step =
      hc_expand_collapse(tape, in[0], in[1], in[2], in[3], in[4], in[5], in[6], shape, kNormEps);
  return {step.x, step.mix.read, step.mix.post, step.mix.comb};
}

GRADIENT_CASES(HcExpandCollapse) {
  std::vector<GradCase> cases;
  for (const Mixing kind : {Mixing::kManifold, Mixing::kHyper}) {
    for (const Sizes s :
         {Sizes{1, 1, 1, 1}, Sizes{5, 2, 3, 20}, Sizes{19, 4, 3, 3}, Sizes{2, 8, 1, 2}}) {
      const MixingShape shape{kind, s.n, s.iterations, 1e-6F};
      cases.push_back(
          {.name = concat("hc_expand_collapse kind=", static_cast<int>(kind), " N=", s.N,
                          " n=", s.n, " C=", s.C),
           .inputs = step_shapes(s, shape),
           .op = [=](Tape& tape, const std::vector<Tensor>& in) { return both(tape, in, shape); },
           .reference =
               [=](const std::vector<Doubles>& in) {
                 const Doubles y = expand_reference(in, s);
                 std::vector<Doubles> all =
                     collapse_reference({y, in[4], in[5], in[6]}, shape, s.N, s.C);
                 all.insert(all.begin(), y);
                 return all;
               },
           .values = {{4, normal(0.3)}, {6, normal(0.5, 0.5)}}});
    }
  }
  return cases;
}

// Outputs of the middle one of three steps, and the gradients of all inputs.
std::vector<std::vector<float>> run_steps(const Sizes& s, bool fused) {
  const MixingShape shape{Mixing::kManifold, s.n, s.iterations, 1e-6F};
  Leaves leaves(step_shapes(s, shape));
  for (float& fn : leaves.values[4]) fn *= 0.3F;
  Tape tape({1 << 28, 1 << 28});
  const std::vector<Tensor> in = leaves.on(tape);
  const Tensor x = hc_expand(tape, in[0], in[1], in[2], in[3]);
  std::vector<Tensor> out;
  if (fused) {
    out = both(tape, {x, in[1], in[2], in[3], in[4], in[5], in[6]}, shape);
  } else {
    const Tensor y = hc_expand(tape, x, in[1], in[2], in[3]);
    const StreamMix mix = hc_collapse(tape, y, in[4], in[5], in[6], shape, kNormEps);
    out = {y, mix.read, mix.post, mix.comb};
  }
  // Streams and mixing weights go on through another use, so that all four have a cotangent.
  const Tensor end = hc_expand(tape, out[0], out[1], out[2], out[3]);
  tape.seed(end, end);
  std::vector<std::vector<float>> all;
  for (const Tensor& t : out) all.emplace_back(t.as<float>(), t.as<float>() + t.shape.numel());
  tape.walk_back(0);
  all.insert(all.end(), leaves.grads.begin(), leaves.grads.end());
  return all;
}

// Fused or one after the other: the same bits, forward and backward.
TEST(HcExpandCollapse, EqualsItsTwoHalves) {
  for (const Sizes s : {Sizes{300, 4, 40, 20}, Sizes{7, 1, 5, 1}, Sizes{33, 8, 3, 2}}) {
    EXPECT_EQ(run_steps(s, true), run_steps(s, false))
        << "N=" << s.N << " n=" << s.n << " C=" << s.C;
  }
}

// Streams that go past the caches have the bits of those that stay.
TEST(HcExpandCollapse, SizeChangesNoBitsOfARow) {
  constexpr std::int64_t kMany = 35'000, kFew = 50;
  for (const bool fused : {true, false}) {
    const auto many = run_steps({kMany, 4, 16, 2}, fused), few = run_steps({kFew, 4, 16, 2}, fused);
    for (std::size_t i = 0; i + 3 < few.size(); ++i) {  // the last three are weights
      EXPECT_EQ(std::vector(many[i].begin(), many[i].begin() + std::ssize(few[i])), few[i])
          << i << (fused ? " fused" : "");
    }
  }
}

}  // namespace
}  // namespace shoal::testing

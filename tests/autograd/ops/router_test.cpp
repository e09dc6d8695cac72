#include "autograd/ops/router.h"

#include <numeric>

#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {
namespace {

// How experts are chosen and weighed.
struct Routing {
  RouterFunction score = RouterFunction::kSqrtSoftplus;
  std::int64_t experts_per_token = 1;
  float scale = 1.0F;
  bool normalise = true;
};

struct Sizes {
  std::int64_t B, T, E;
  Routing routing;
  std::int64_t padded;  // rows at the end of every sequence
  std::int64_t N() const { return B * T; }
};

Doubles scores(RouterFunction f, const double* logits, std::int64_t E) {
  Doubles s;
  double total = 0.0;
  for (std::int64_t e = 0; e < E; ++e) {
    const double l = logits[e];
    s.push_back(f == RouterFunction::kSqrtSoftplus ? std::sqrt(std::log1p(std::exp(l)))
                : f == RouterFunction::kSigmoid    ? sigmoid(l)
                                                   : std::exp(l));
    total += s.back();
  }
  if (f == RouterFunction::kSoftmax) {
    for (double& x : s) x /= total;
  }
  return s;
}

// The K largest of s + bias in falling order; ties to the lower index.
Integers largest(const Doubles& s, const Doubles& bias, std::int64_t K) {
  Integers order(s.size());
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](std::int32_t e) {
    return s[static_cast<std::size_t>(e)] + bias[static_cast<std::size_t>(e)];
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return key(a) > key(b); });
  order.resize(static_cast<std::size_t>(K));
  return order;
}

void append_gates(Doubles& gates, const Doubles& s, const Integers& chosen,
                  const Routing& routing) {
  double total = 1.0;
  if (routing.normalise) {
    total = 1e-20;
    for (const std::int32_t e : chosen) total += s[static_cast<std::size_t>(e)];
  }
  for (const std::int32_t e : chosen) {
    gates.push_back(routing.scale * s[static_cast<std::size_t>(e)] / total);
  }
}

std::vector<Doubles> route_reference(const std::vector<Doubles>& in, const Sizes& size) {
  const auto [B, T, E, routing, padded] = size;
  const std::int64_t K = routing.experts_per_token, valid = T - padded;
  Doubles gates, experts;
  double balance = 0.0;
  for (std::int64_t b = 0; b < B; ++b) {
    Doubles f = zeros(E), share = zeros(E);
    for (std::int64_t t = 0; t < T; ++t) {
      const Doubles s = scores(routing.score, in[0].data() + (b * T + t) * E, E);
      const Integers chosen = largest(s, in[1], K);
      append_gates(gates, s, chosen, routing);
      experts.insert(experts.end(), chosen.begin(), chosen.end());
      if (t >= valid) continue;
      const double total = std::accumulate(s.begin(), s.end(), 0.0);
      for (std::size_t e = 0; e < s.size(); ++e) {
        share[e] += s[e] / total / static_cast<double>(valid);
      }
      for (const std::int32_t e : chosen) {
        f[static_cast<std::size_t>(e)] += static_cast<double>(E) / static_cast<double>(K * valid);
      }
    }
    balance += dot(f.data(), share.data(), E);
  }
  return {gates, experts, {balance}};
}

std::string name_of(const Sizes& s) {
  return concat(" score=", static_cast<int>(s.routing.score), " B=", s.B, " T=", s.T, " E=", s.E,
                " K=", s.routing.experts_per_token, s.routing.normalise ? "" : " raw",
                " padded=", s.padded);
}

GradCase learned(const Sizes& s) {
  return {.name = "weigh_experts, chosen" + name_of(s),
          .inputs = {{s.N(), s.E}, {s.E}},
          .op =
              [s](Tape& tape, const std::vector<Tensor>& in) {
                Integers valid;
                for (std::int64_t n = 0; n < s.N(); ++n) valid.push_back(n % s.T < s.T - s.padded);
                const auto [f, K, scale, normalise] = s.routing;
                const Tensor scores = router_scores(tape, in[0], f);
                const Tensor ids = choose_experts(tape, scores, in[1], K);
                const Gates g = weigh_experts(tape, in[0], scores, ids, integers(tape, valid), s.B,
                                              {f, scale, normalise, true});
                return std::vector<Tensor>{g.gates, ids, g.balance};
              },
          .reference = [s](const std::vector<Doubles>& in) { return route_reference(in, s); },
          .values = {{1, normal(0.3)}},
          .constants = {1}};
}

GradCase by_table(const Sizes& s) {
  const std::int64_t V = 7, K = s.routing.experts_per_token;
  const Integers tokens = random_integers(s.N(), V, 21);
  Integers table;
  for (std::int64_t v = 0; v < V; ++v) {
    for (std::int64_t k = 0; k < K; ++k) {
      table.push_back(static_cast<std::int32_t>((3 * v + s.E - k) % s.E));
    }
  }
  const auto chosen = [=](std::int64_t n) {
    const auto row = table.begin() + tokens[static_cast<std::size_t>(n)] * K;
    return Integers(row, row + K);
  };
  return {.name = "weigh_experts, by table" + name_of(s),
          .inputs = {{s.N(), s.E}},
          .op =
              [=](Tape& tape, const std::vector<Tensor>& in) {
                const Tensor ids =
                    look_up_experts(tape, integers(tape, table, {V, K}), integers(tape, tokens));
                const RouterFunction f = s.routing.score;
                const Integers all(static_cast<std::size_t>(s.N()), 1);
                const Gates g = weigh_experts(tape, in[0], router_scores(tape, in[0], f), ids,
                                              integers(tape, all), 1,
                                              {f, s.routing.scale, s.routing.normalise, false});
                EXPECT_FALSE(g.balance);
                return std::vector<Tensor>{g.gates, ids};
              },
          .reference =
              [=](const std::vector<Doubles>& in) {
                Doubles gates, experts;
                for (std::int64_t n = 0; n < s.N(); ++n) {
                  const Integers e = chosen(n);
                  append_gates(gates, scores(s.routing.score, in[0].data() + n * s.E, s.E), e,
                               s.routing);
                  experts.insert(experts.end(), e.begin(), e.end());
                }
                return std::vector<Doubles>{gates, experts};
              }};
}

GRADIENT_CASES(Router) {
  std::vector<GradCase> cases;
  for (const RouterFunction f :
       {RouterFunction::kSqrtSoftplus, RouterFunction::kSigmoid, RouterFunction::kSoftmax}) {
    for (const Sizes& s :
         {Sizes{1, 1, 2, {f, 1, 1.5F, false}, 0}, Sizes{1, 5, 5, {f, 2, 1.5F, true}, 0},
          Sizes{1, 6, 3, {f, 1, 1.5F, true}, 0}, Sizes{2, 3, 2, {f, 2, 1.5F, true}, 0},
          Sizes{2, 7, 4, {f, 3, 1.0F, true}, 2}, Sizes{3, 13, 9, {f, 2, 2.5F, false}, 1}}) {
      cases.push_back(learned(s));
      cases.push_back(by_table(s));
    }
  }
  // Logits whose softplus is below what float32 holds, while its root is not.
  const Routing routing{RouterFunction::kSqrtSoftplus, 2, 1.5F, true};
  for (GradCase c : {learned({2, 5, 4, routing, 0}), by_table({1, 7, 5, routing, 0})}) {
    c.name += " far below zero";
    c.values[0] = normal(12.0, -85.0);
    cases.push_back(c);
  }
  return cases;
}

// A row's gradient by its logits of the first gate, or of the balance loss; no bias.
std::vector<float> row_gradient(std::vector<float> logits, std::int64_t K, bool of_balance) {
  const auto E = static_cast<std::int64_t>(logits.size());
  Tape tape({1 << 20, 1 << 20});
  std::vector<float> grad(logits.size());
  Param param;
  param.value = {logits.data(), {1, E}, DType::kF32, kConstant};
  param.grad = {grad.data(), {1, E}, DType::kF32, kConstant};
  const Tensor bias = tape.alloc({E});
  std::fill_n(bias.as<float>(), E, 0.0F);
  const RouterFunction f = RouterFunction::kSqrtSoftplus;
  const Tensor row = tape.leaf(param), scores = router_scores(tape, row, f);
  const Gates g = weigh_experts(tape, row, scores, choose_experts(tape, scores, bias, K),
                                integers(tape, {1}), 1, {f, 1.5F, true, true});
  tape.backward(of_balance ? g.balance : g.gates, 0.37F);
  return grad;
}

// What cannot depend on the logits has no gradient, not one that is rounding: an optimizer that
// divides by its size would follow it all the same.
TEST(Router, NoGradientWhereThereIsNoChoice) {
  for (int i = 0; i < 20; ++i) {
    const auto x = static_cast<float>(normal(3.0)(i));
    for (const float g : row_gradient({x, x - 0.4F, x - 0.7F}, 1, false)) {
      EXPECT_LT(std::abs(g), 1e-18F) << x;
    }
    for (const float g : row_gradient({x}, 1, true)) EXPECT_EQ(g, 0.0F) << x;
    for (const float g : row_gradient({x, 0.3F, -1.1F}, 3, true)) EXPECT_EQ(g, 0.0F) << x;
    EXPECT_NE(row_gradient({x, 0.3F, -1.1F}, 1, true)[0], 0.0F);
  }
}

}  // namespace
}  // namespace shoal::testing

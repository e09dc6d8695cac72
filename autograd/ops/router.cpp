#include "autograd/ops/router.h"

#include <algorithm>
#include <cmath>

#include "autograd/kernels/vec_math.h"

namespace shoal {
namespace {

constexpr float kGateEps = 1e-20F;
// Below, softplus(l) = exp(l) in float32, and its root is taken before it underflows.
constexpr float kSmallLogit = -20.0F;

void scores_of(RouterFunction f, const float* logits, std::int64_t E, float* s) {
  switch (f) {
    case RouterFunction::kSqrtSoftplus:
      for (std::int64_t e = 0; e < E; ++e) {
        const float l = logits[e];
        s[e] = l < kSmallLogit ? std::exp(0.5F * l)
                               : std::sqrt(l > 20.0F ? l : std::log1p(std::exp(l)));
      }
      return;
    case RouterFunction::kSigmoid:
      for (std::int64_t e = 0; e < E; ++e) s[e] = fast_sigmoid(logits[e]);
      return;
    case RouterFunction::kSoftmax: {
      const float top = row_max(logits, E);
      float total = 0.0F;
      for (std::int64_t e = 0; e < E; ++e) total += s[e] = fast_exp(logits[e] - top);
      for (std::int64_t e = 0; e < E; ++e) s[e] /= total;
      return;
    }
  }
}

// dlogits += (ds/dlogits)^T ds
void scores_backward(RouterFunction f, const float* logits, const float* s, const float* ds,
                     std::int64_t E, float* dlogits) {
  switch (f) {
    case RouterFunction::kSqrtSoftplus:  // ds/dl = sigmoid(l) / (2 s)
      for (std::int64_t e = 0; e < E; ++e) {
        dlogits[e] += ds[e] * (logits[e] < kSmallLogit ? 0.5F * s[e]
                                                       : fast_sigmoid(logits[e]) / (2.0F * s[e]));
      }
      return;
    case RouterFunction::kSigmoid:
      for (std::int64_t e = 0; e < E; ++e) dlogits[e] += ds[e] * s[e] * (1.0F - s[e]);
      return;
    case RouterFunction::kSoftmax: {
      float carry = 0.0F;
      for (std::int64_t e = 0; e < E; ++e) carry += ds[e] * s[e];
      for (std::int64_t e = 0; e < E; ++e) dlogits[e] += s[e] * (ds[e] - carry);
      return;
    }
  }
}

struct Router {
  static constexpr std::string_view kName = "router";
  enum Output { kGates, kBalance };
  struct Saved {
    Tensor logits, bias;          // bias null: chosen by table
    Tensor table, tokens, valid;  // i32
    Tensor experts;               // [N, K] i32, written by forward
    Tensor scores;                // [N, E]
    Tensor f;                     // [B, E] (f_i - f_0) / T of each sequence; null without balance
    Routing routing;
    std::int64_t B;
    std::int64_t N() const { return logits.shape.rows(); }
    std::int64_t E() const { return logits.shape.cols(); }
    std::int64_t K() const { return routing.experts_per_token; }
  };

  static void choose(const Saved& s, std::int64_t n, std::int32_t* chosen) {
    const std::int64_t E = s.E(), K = s.K();
    if (!s.bias) {
      const std::int32_t* row = s.table.as<std::int32_t>() + s.tokens.as<std::int32_t>()[n] * K;
      std::copy(row, row + K, chosen);
      return;
    }
    const float* score = s.scores.row(n);
    const float* bias = s.bias.as<float>();
    for (std::int64_t k = 0; k < K; ++k) {  // K is small: K passes beat a sort
      std::int32_t best = -1;
      float top = 0.0F;
      for (std::int64_t e = 0; e < E; ++e) {
        const float value = score[e] + bias[e];
        if (best >= 0 && !(value > top)) continue;
        if (std::find(chosen, chosen + k, static_cast<std::int32_t>(e)) != chosen + k) continue;
        best = static_cast<std::int32_t>(e);
        top = value;
      }
      chosen[k] = best;
    }
  }

  static void forward(Tape& tape, const Saved& s, Outputs y) {
    const std::int64_t N = s.N(), E = s.E(), K = s.K(), T = N / s.B;
    for_chunks(N, [&](Range rows) {
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        float* score = s.scores.row(n);
        std::int32_t* chosen = s.experts.as<std::int32_t>() + n * K;
        float* gates = y[kGates].row(n);
        scores_of(s.routing.score, s.logits.row(n), E, score);
        choose(s, n, chosen);
        float total = kGateEps;
        for (std::int64_t k = 0; k < K; ++k) total += score[chosen[k]];
        const float factor = s.routing.scale / (s.routing.normalise ? total : 1.0F);
        for (std::int64_t k = 0; k < K; ++k) gates[k] = factor * score[chosen[k]];
      }
    });
    if (!s.f) return;
    const auto losses = tape.scratch<float>(s.B);
    for_tasks(s.B, [&](std::int64_t b) {
      auto* share =
          static_cast<double*>(thread_scratch(1, static_cast<std::size_t>(2 * E) * sizeof(double)));
      double* count = share + E;
      std::fill_n(share, 2 * E, 0.0);
      double rows = 0.0;
      for (std::int64_t n = b * T; n < (b + 1) * T; ++n) {
        if (s.valid.as<std::int32_t>()[n] == 0) continue;
        rows += 1.0;
        const float* score = s.scores.row(n);
        const float inv = 1.0F / row_sum(score, E);
        for (std::int64_t e = 0; e < E; ++e) share[e] += score[e] * inv;
        const std::int32_t* chosen = s.experts.as<std::int32_t>() + n * K;
        for (std::int64_t k = 0; k < K; ++k) count[chosen[k]] += 1.0;
      }
      double loss = 0.0;
      for (std::int64_t e = 0; e < E; ++e) {
        const double per_load =
            rows > 0.0 ? static_cast<double>(E) / (static_cast<double>(K) * rows * rows) : 0.0;
        s.f.row(b)[e] = static_cast<float>(per_load * (count[e] - count[0]));
        loss += per_load * count[e] * share[e];
      }
      losses[b] = static_cast<float>(loss);
    });
    if (parallel_is_off()) return;
    float sum = 0.0F;
    for (std::int64_t b = 0; b < s.B; ++b) sum += losses[b];
    *y[kBalance].as<float>() = sum;
  }

  // Gates: with S = eps + sum_k s_k, dL/ds_i = scale (eps dg_i + sum_k (dg_i - dg_k) s_k) / S^2 for
  // the chosen: differences first, so that nothing but eps is left of a single expert's.
  // Balance: with s' = s / A, A = sum_j s_j, dL/ds_j = (f_j - sum_i f_i s'_i) / A. It takes f less
  // any constant: less f_0, equal loads give zeros.
  static void backward(Tape&, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t N = s.N(), E = s.E(), K = s.K(), T = N / s.B;
    if (!dx[0]) return;
    const bool balance = s.f && dy.size() > kBalance && dy[kBalance];
    for_chunks(N, [&](Range rows) {
      auto* ds =
          static_cast<float*>(thread_scratch(1, static_cast<std::size_t>(E) * sizeof(float)));
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        const float* score = s.scores.row(n);
        std::fill_n(ds, E, 0.0F);
        if (dy[kGates]) {
          const std::int32_t* chosen = s.experts.as<std::int32_t>() + n * K;
          const float* dg = dy[kGates].row(n);
          float total = kGateEps;
          for (std::int64_t k = 0; k < K; ++k) total += score[chosen[k]];
          for (std::int64_t i = 0; i < K; ++i) {
            float over = kGateEps / total * dg[i];
            for (std::int64_t k = 0; k < K; ++k) {
              over += (dg[i] - dg[k]) * (score[chosen[k]] / total);
            }
            ds[chosen[i]] = s.routing.scale * (s.routing.normalise ? over / total : dg[i]);
          }
        }
        if (balance && s.valid.as<std::int32_t>()[n] != 0) {
          const float* f = s.f.row(n / T);
          const float inv = 1.0F / row_sum(score, E);
          const float carry = dot(f, score, E) * inv;
          const float weight = *dy[kBalance].as<float>() * inv;
          for (std::int64_t e = 0; e < E; ++e) ds[e] += weight * (f[e] - carry);
        }
        float* out = dx[0].data() + n * E;
        if (dx[0].beta == 0.0F) std::fill_n(out, E, 0.0F);
        scores_backward(s.routing.score, s.logits.row(n), score, ds, E, out);
      }
    });
  }
};
const RegisterOp kRegistered{kOpInfo<Router>};

}  // namespace

Routed route(Tape& tape, Tensor logits, Tensor bias, Tensor valid, std::int64_t B,
             const Routing& routing) {
  const std::int64_t N = logits.shape.rows(), E = logits.shape.cols();
  const std::int64_t K = routing.experts_per_token;
  CHECK(bias.shape == Shape{E} && K >= 1 && K <= E && B >= 1 && N % B == 0 &&
            valid.shape.numel() == N,
        "route: logits ", logits.shape, ", bias ", bias.shape, ", K = ", K, ", B = ", B);
  Routed out{tape.alloc({N, K}), tape.alloc({N, K}, DType::kI32), tape.alloc({1})};
  tape.apply<Router>({logits,
                      bias,
                      {},
                      {},
                      valid,
                      out.experts,
                      tape.alloc({N, E}),
                      tape.alloc({B, E}),
                      routing,
                      B},
                     {logits}, {&out.gates, &out.balance});
  return out;
}

Routed route_by_table(Tape& tape, Tensor logits, Tensor table, Tensor tokens,
                      const Routing& routing) {
  const std::int64_t N = logits.shape.rows(), E = logits.shape.cols();
  const std::int64_t K = routing.experts_per_token;
  CHECK(table.shape.cols() == K && K <= E && tokens.shape.numel() == N, "route_by_table: logits ",
        logits.shape, ", table ", table.shape, ", K = ", K);
  Routed out{tape.alloc({N, K}), tape.alloc({N, K}, DType::kI32), {}};
  tape.apply<Router>(
      {logits, {}, table, tokens, {}, out.experts, tape.alloc({N, E}), {}, routing, 1}, {logits},
      {&out.gates});
  return out;
}

}  // namespace shoal

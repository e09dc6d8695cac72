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

// K is small: K passes beat a sort.
void choose(const float* score, const float* bias, std::int64_t E, std::int64_t K,
            std::int32_t* chosen) {
  for (std::int64_t k = 0; k < K; ++k) {
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

struct WeighExperts {
  static constexpr std::string_view kName = "weigh_experts";
  enum Output { kGates, kBalance };
  struct Saved {
    Tensor logits, scores;  // [N, E]
    Tensor ids;             // [N, K] i32
    Tensor valid;           // [N] i32
    Tensor load;            // [E] i64, written by forward
    Tensor f;               // [B, E] (f_i - f_0) / T of each sequence; null without balance
    Weighing weighing;
    std::int64_t B;
    std::int64_t N() const { return logits.shape.rows(); }
    std::int64_t E() const { return logits.shape.cols(); }
    std::int64_t K() const { return ids.shape.cols(); }
    const std::int32_t* chosen(std::int64_t n) const { return ids.as<std::int32_t>() + n * K(); }
    bool counts(std::int64_t n) const { return valid.as<std::int32_t>()[n] != 0; }
  };

  static void forward(Tape& tape, const Saved& s, Outputs y) {
    const std::int64_t N = s.N(), E = s.E(), K = s.K(), T = N / s.B;
    for_chunks(N, [&](Range rows) {
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        const float* score = s.scores.row(n);
        const std::int32_t* chosen = s.chosen(n);
        float* gates = y[kGates].row(n);
        float total = kGateEps;
        for (std::int64_t k = 0; k < K; ++k) total += score[chosen[k]];
        const float factor = s.weighing.scale / (s.weighing.normalise ? total : 1.0F);
        for (std::int64_t k = 0; k < K; ++k) gates[k] = factor * score[chosen[k]];
      }
    });
    if (!tape.is_dry()) {
      auto* load = s.load.as<std::int64_t>();
      std::fill_n(load, E, 0);
      for (std::int64_t n = 0; n < N; ++n) {
        for (std::int64_t k = 0; s.counts(n) && k < K; ++k) ++load[s.chosen(n)[k]];
      }
    }
    if (!s.f) return;
    const auto losses = tape.scratch<float>(s.B);
    for_tasks(s.B, [&](std::int64_t b) {
      auto* share =
          static_cast<double*>(thread_scratch(1, static_cast<std::size_t>(2 * E) * sizeof(double)));
      double* count = share + E;
      std::fill_n(share, 2 * E, 0.0);
      double rows = 0.0;
      for (std::int64_t n = b * T; n < (b + 1) * T; ++n) {
        if (!s.counts(n)) continue;
        rows += 1.0;
        const float* score = s.scores.row(n);
        const float inv = 1.0F / row_sum(score, E);
        for (std::int64_t e = 0; e < E; ++e) share[e] += score[e] * inv;
        const std::int32_t* chosen = s.chosen(n);
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
    if (tape.is_dry()) return;
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
          const std::int32_t* chosen = s.chosen(n);
          const float* dg = dy[kGates].row(n);
          float total = kGateEps;
          for (std::int64_t k = 0; k < K; ++k) total += score[chosen[k]];
          for (std::int64_t i = 0; i < K; ++i) {
            float over = kGateEps / total * dg[i];
            for (std::int64_t k = 0; k < K; ++k) {
              over += (dg[i] - dg[k]) * (score[chosen[k]] / total);
            }
            ds[chosen[i]] = s.weighing.scale * (s.weighing.normalise ? over / total : dg[i]);
          }
        }
        if (balance && s.counts(n)) {
          const float* f = s.f.row(n / T);
          const float inv = 1.0F / row_sum(score, E);
          const float carry = dot(f, score, E) * inv;
          const float weight = *dy[kBalance].as<float>() * inv;
          for (std::int64_t e = 0; e < E; ++e) ds[e] += weight * (f[e] - carry);
        }
        float* out = dx[0].data() + n * E;
        if (dx[0].beta == 0.0F) std::fill_n(out, E, 0.0F);
        scores_backward(s.weighing.function, s.logits.row(n), score, ds, E, out);
      }
    });
  }
};
const RegisterOp kRegisterWeighExperts{kOpInfo<WeighExperts>};

}  // namespace

Tensor router_scores(Tape& tape, Tensor logits, RouterFunction function) {
  const std::int64_t E = logits.shape.cols();
  const Tensor scores = tape.alloc(logits.shape);
  if (tape.is_dry()) return scores;
  const TraceSpan span("router_scores", "forward");
  for_chunks(logits.shape.rows(), [&](Range rows) {
    for (std::int64_t n = rows.begin; n < rows.end; ++n) {
      scores_of(function, logits.row(n), E, scores.row(n));
    }
  });
  return scores;
}

Tensor choose_experts(Tape& tape, Tensor scores, Tensor bias, std::int64_t K) {
  const std::int64_t N = scores.shape.rows(), E = scores.shape.cols();
  CHECK(bias.shape == Shape{E} && K >= 1 && K <= E, "choose_experts: scores ", scores.shape,
        ", bias ", bias.shape, ", K = ", K);
  const Tensor ids = tape.alloc({N, K}, DType::kI32);
  if (tape.is_dry()) return ids;
  const TraceSpan span("choose_experts", "forward");
  for_chunks(N, [&](Range rows) {
    for (std::int64_t n = rows.begin; n < rows.end; ++n) {
      choose(scores.row(n), bias.as<float>(), E, K, ids.as<std::int32_t>() + n * K);
    }
  });
  return ids;
}

Tensor look_up_experts(Tape& tape, Tensor table, Tensor tokens) {
  const std::int64_t N = tokens.shape.numel(), K = table.shape.cols();
  const Tensor ids = tape.alloc({N, K}, DType::kI32);
  if (tape.is_dry()) return ids;
  for (std::int64_t n = 0; n < N; ++n) {
    std::copy_n(table.as<std::int32_t>() + tokens.as<std::int32_t>()[n] * K, K,
                ids.as<std::int32_t>() + n * K);
  }
  return ids;
}

Gates weigh_experts(Tape& tape, Tensor logits, Tensor scores, Tensor ids, Tensor valid,
                    std::int64_t B, const Weighing& weighing) {
  const std::int64_t N = logits.shape.rows(), E = logits.shape.cols(), K = ids.shape.cols();
  CHECK(scores.shape == logits.shape && ids.shape == (Shape{N, K}) && K <= E && B >= 1 &&
            N % B == 0 && valid.shape.numel() == N,
        "weigh_experts: logits ", logits.shape, ", scores ", scores.shape, ", ids ", ids.shape,
        ", valid ", valid.shape, ", B = ", B);
  Gates out{tape.alloc({N, K}), weighing.balance ? tape.alloc({1}) : Tensor{},
            tape.alloc({E}, DType::kI64)};
  const WeighExperts::Saved saved{
      logits,   scores, ids, valid, out.load, weighing.balance ? tape.alloc({B, E}) : Tensor{},
      weighing, B};
  if (weighing.balance) {
    tape.apply<WeighExperts>(saved, {logits}, {&out.gates, &out.balance});
  } else {
    tape.apply<WeighExperts>(saved, {logits}, {&out.gates});
  }
  return out;
}

}  // namespace shoal

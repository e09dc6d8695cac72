#include "autograd/ops/experts.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "autograd/base/flop_count.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/vec_math.h"

namespace shoal {
namespace {

struct Experts {
  static constexpr std::string_view kName = "experts";
  enum Input { kX, kGates, kW13, kW2, kShared13, kShared2 };
  struct Saved {
    Tensor x, gates, chosen;
    ExpertWeights routed, shared;
    Tensor hidden;   // [R, 2F] gate and up before the clamp, rows grouped by expert
    Tensor token;    // [R] i32: the token of a grouped row
    Tensor place;    // [N, slots] i32: the grouped row of a token's slot; the shared one comes last
    Tensor start;    // [G + 1] i32: first grouped row of each expert
    Tensor valid;    // [N] i32 or null: rows that the counters count
    Tensor clamped;  // [kClampWords] i64, written by forward
    float limit;

    std::int64_t N() const { return x.shape.rows(); }
    std::int64_t C() const { return x.shape.cols(); }
    std::int64_t F() const { return (routed ? routed : shared).w2.shape.cols(); }
    std::int64_t E() const { return routed ? routed.w2.shape[0] : 0; }
    std::int64_t G() const { return E() + (shared ? 1 : 0); }  // the shared expert is the last
    std::int64_t K() const { return gates ? gates.shape.cols() : 0; }
    std::int64_t slots() const { return K() + (shared ? 1 : 0); }
    const float* w13(std::int64_t e) const {
      return e < E() ? routed.w13.as<float>() + e * 2 * F() * C() : shared.w13.as<float>();
    }
    const float* w2(std::int64_t e) const {
      return e < E() ? routed.w2.as<float>() + e * C() * F() : shared.w2.as<float>();
    }
    std::int64_t R() const { return N() * slots(); }
    std::int64_t rows_of(std::int64_t e) const { return begin(e + 1) - begin(e); }
    std::int64_t begin(std::int64_t e) const { return start.as<std::int32_t>()[e]; }
  };

  // Groups (token, slot) pairs by expert, in the order of tokens within an expert.
  static void group(const Saved& s) {
    const std::int64_t N = s.N(), K = s.K(), G = s.G(), slots = s.slots();
    auto* start = s.start.as<std::int32_t>();
    auto* token = s.token.as<std::int32_t>();
    auto* place = s.place.as<std::int32_t>();
    const std::int32_t* chosen = K > 0 ? s.chosen.as<std::int32_t>() : nullptr;
    std::fill_n(start, G + 1, 0);
    for (std::int64_t i = 0; i < N * K; ++i) ++start[chosen[i] + 1];
    if (s.shared) start[G] = static_cast<std::int32_t>(N);
    for (std::int64_t e = 0; e < G; ++e) start[e + 1] += start[e];
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t k = 0; k < slots; ++k) {
        const std::int32_t row = start[k < K ? chosen[n * K + k] : G - 1]++;
        token[row] = static_cast<std::int32_t>(n);
        place[n * slots + k] = row;
      }
    }
    for (std::int64_t e = G; e > 0; --e) start[e] = start[e - 1];
    start[0] = 0;
  }

  // For every grouped row: fn(chunk, row, token, slot), where the shared expert's slot is -1. The
  // rows of a token lie apart: ahead(row) may call for one that comes soon.
  template <class Ahead, class Fn>
  static void for_grouped_rows(const Saved& s, const Ahead& ahead, const Fn& fn) {
    const std::int64_t K = s.K(), slots = s.slots();
    for_chunks(s.N(), [&](Range tokens) {
      for (std::int64_t n = tokens.begin; n < tokens.end; ++n) {
        const std::int32_t* place = s.place.as<std::int32_t>() + n * slots;
        for (std::int64_t k = 0; k < slots; ++k) {
          if (n + 1 < tokens.end) ahead(place[slots + k]);
          fn(tokens.chunk, place[k], n, k < K ? k : -1);
        }
      }
    });
  }

  // One product per expert, all run together.
  template <class Make>
  static void gemm_each(Tape& tape, const Saved& s, int per_expert, const Make& make) {
    const auto products = tape.scratch<Gemm>(s.G() * per_expert);
    if (tape.is_dry()) return;
    for (std::int64_t e = 0; e < s.G(); ++e) make(e, products.data() + e * per_expert);
    gemm({products.data(), static_cast<std::size_t>(s.G() * per_expert)});
  }

  // out[n] (+)= sum over slots, in slot order, of grouped[place[n, slot]]
  static void combine(const Saved& s, const float* grouped, float* out, float beta) {
    const std::int64_t C = s.C(), slots = s.slots();
    for_chunks(s.N(), [&](Range tokens) {
      for (std::int64_t n = tokens.begin; n < tokens.end; ++n) {
        const std::int32_t* place = s.place.as<std::int32_t>() + n * slots;
        if (n + 1 < tokens.end) {
          for (std::int64_t k = 0; k < slots; ++k) call_for(grouped + place[slots + k] * C, C);
        }
        float* to = out + n * C;
        const float* first = grouped + place[0] * C;
        if (slots == 1) {
          write_grad(to, beta, C, [=](std::int64_t c) { return first[c]; });
          continue;
        }
        const float* second = grouped + place[1] * C;
        write_grad(to, beta, C, [=](std::int64_t c) { return first[c] + second[c]; });
        for (std::int64_t k = 2; k < slots; ++k) {
          const float* next = grouped + place[k] * C;
#pragma omp simd
          for (std::int64_t c = 0; c < C; ++c) to[c] += next[c];
        }
      }
    });
  }

  static void forward(Tape& tape, const Saved& s, Outputs y) {
    const std::int64_t C = s.C(), F = s.F(), R = s.R();
    FlopCount::add_products(3, R, C, F);
    if (!tape.is_dry()) group(s);
    gemm_each(tape, s, 1, [&](std::int64_t e, Gemm* p) {
      *p =
          gemm_forward(s.rows_of(e), 2 * F, C, s.x.as<float>(), s.w13(e), s.hidden.row(s.begin(e)));
      p->a_rows = s.token.as<std::int32_t>() + s.begin(e);
    });
    const auto act = tape.scratch<float>(R * F);
    const auto grouped = tape.scratch<float>(R * C);
    std::array<ClampCount, kChunks> counts{};
    const float limit = s.limit > 0.0F ? s.limit : std::numeric_limits<float>::infinity();
    const float counted = s.limit > 0.0F ? s.limit : kUsualLimit;
    const auto ahead = [&](std::int64_t row) { call_for(s.hidden.row(row), 2 * F); };
    for_grouped_rows(s, ahead, [&](int chunk, std::int64_t row, std::int64_t n, std::int64_t k) {
      const float* gate = s.hidden.row(row);
      const float* up = gate + F;
      float* out = act.data() + row * F;
      const float g = k < 0 ? 1.0F : s.gates.row(n)[k];
      // Clamps are counted apart: with counters in it, this loop would not be vectorised.
#pragma omp simd
      for (std::int64_t f = 0; f < F; ++f) {
        const float a = gate[f] > limit ? limit : gate[f];
        const float b = up[f] > limit ? limit : (up[f] < -limit ? -limit : up[f]);
        out[f] = a * fast_sigmoid(a) * b * g;
      }
      if (s.valid && s.valid.as<std::int32_t>()[n] == 0) return;
      ClampCount& count = counts[static_cast<std::size_t>(chunk)];
      count.pairs += F;
      count.gate_high += count_above(gate, 1.0F, counted, F);
      count.up_high += count_above(up, 1.0F, counted, F);
      count.up_low += count_above(up, -1.0F, counted, F);
      count.gate_max = std::max(count.gate_max, largest_magnitude(gate, F));
      count.up_max = std::max(count.up_max, largest_magnitude(up, F));
    });
    if (!tape.is_dry()) {
      ClampCount total;
      for (const ClampCount& count : counts) total += count;
      std::memcpy(s.clamped.data, &total, sizeof(total));
    }
    gemm_each(tape, s, 1, [&](std::int64_t e, Gemm* p) {
      *p = gemm_forward(s.rows_of(e), C, F, act.data() + s.begin(e) * F, s.w2(e),
                        grouped.data() + s.begin(e) * C);
    });
    combine(s, grouped.data(), y[0].as<float>(), 0.0F);
  }

  // With a = min(gate, limit), b = clamp(up), h = silu(a) b and dh = dy W2 (grouped):
  //   dg = sum_f dh h;  da = g dh b silu'(a);  db = g dh silu(a), zero where the clamp acted;
  //   dW2 = dy^T (g h);  dW13 = [da db]^T x;  dx = [da db] W13
  static void count_flops(const Saved& s, GradSlots dx) {
    const bool inner = dx[kX] || dx[kGates] || dx[kW13] || dx[kShared13];  // needs dy W2
    const auto add = [&](int products, std::int64_t rows) {
      FlopCount::add_products(products, rows, s.C(), s.F());
    };
    add((inner ? 1 : 0) + (dx[kX] ? 2 : 0), s.R());
    add((dx[kW2] ? 1 : 0) + (dx[kW13] ? 2 : 0), s.N() * s.K());
    add((dx[kShared2] ? 1 : 0) + (dx[kShared13] ? 2 : 0), s.R() - s.N() * s.K());
  }

  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t C = s.C(), F = s.F(), R = s.R(), K = s.K();
    count_flops(s, dx);
    const auto act = tape.scratch<float>(R * F);
    const auto dhidden = tape.scratch<float>(R * 2 * F);
    {
      const auto dact = tape.scratch<float>(R * F);
      gemm_each(tape, s, 1, [&](std::int64_t e, Gemm* p) {
        *p = gemm_input_grad(s.rows_of(e), C, F, dy[0].as<float>(), s.w2(e),
                             dact.data() + s.begin(e) * F, false);
        p->a_rows = s.token.as<std::int32_t>() + s.begin(e);
      });
      const float limit = s.limit > 0.0F ? s.limit : std::numeric_limits<float>::infinity();
      const auto ahead = [&](std::int64_t row) {
        call_for(s.hidden.row(row), 2 * F);
        call_for(dact.data() + row * F, F);
      };
      for_grouped_rows(s, ahead, [&](int, std::int64_t row, std::int64_t n, std::int64_t k) {
        const float* gate = s.hidden.row(row);
        const float* up = gate + F;
        const float* dh = dact.data() + row * F;
        float* out = act.data() + row * F;
        float* dgate = dhidden.data() + row * 2 * F;
        float* dup = dgate + F;
        const float g = k < 0 ? 1.0F : s.gates.row(n)[k];
#pragma omp simd
        for (std::int64_t f = 0; f < F; ++f) {
          const float a = gate[f] > limit ? limit : gate[f];
          const float b = up[f] > limit ? limit : (up[f] < -limit ? -limit : up[f]);
          const float sigmoid = fast_sigmoid(a);
          const float silu = a * sigmoid;
          const float d = g * dh[f];
          dgate[f] = gate[f] > limit ? 0.0F : d * b * (sigmoid + silu * (1.0F - sigmoid));
          dup[f] = up[f] > limit || up[f] < -limit ? 0.0F : d * silu;
          out[f] = silu * b;
        }
        if (k >= 0 && dx[kGates]) {
          const float dg = dot(dh, out, F);
          write_grad(dx[kGates].data() + n * K + k, dx[kGates].beta, 1,
                     [=](std::int64_t) { return dg; });
        }
        if (k >= 0) {
#pragma omp simd
          for (std::int64_t f = 0; f < F; ++f) out[f] *= g;
        }
      });
    }
    if (dx[kW13] || dx[kW2] || dx[kShared13] || dx[kShared2]) {
      gemm_each(tape, s, 2, [&](std::int64_t e, Gemm* p) {
        const std::int32_t* token = s.token.as<std::int32_t>() + s.begin(e);
        const std::int64_t at = e < s.E() ? e : 0;  // of those that lie together
        const GradSlot& dw13 = dx[e < s.E() ? kW13 : kShared13];
        const GradSlot& dw2 = dx[e < s.E() ? kW2 : kShared2];
        p[0] = p[1] = Gemm{.c_row = 1};
        if (dw2) {
          p[0] =
              gemm_weight_grad(s.rows_of(e), C, F, dy[0].as<float>(), act.data() + s.begin(e) * F,
                               dw2.data() + at * C * F, dw2.beta != 0.0F);
          p[0].a_ks = token;
        }
        if (dw13) {
          p[1] = gemm_weight_grad(s.rows_of(e), 2 * F, C, dhidden.data() + s.begin(e) * 2 * F,
                                  s.x.as<float>(), dw13.data() + at * 2 * F * C, dw13.beta != 0.0F);
          p[1].b_ks = token;
        }
      });
    }
    if (dx[kX]) {
      const auto grouped = tape.scratch<float>(R * C);
      gemm_each(tape, s, 1, [&](std::int64_t e, Gemm* p) {
        *p = gemm_input_grad(s.rows_of(e), 2 * F, C, dhidden.data() + s.begin(e) * 2 * F, s.w13(e),
                             grouped.data() + s.begin(e) * C, false);
      });
      combine(s, grouped.data(), dx[kX].data(), dx[kX].beta);
    }
  }
};
const RegisterOp kRegisterExperts{kOpInfo<Experts>};

}  // namespace

ClampCount& ClampCount::operator+=(const ClampCount& other) {
  gate_high += other.gate_high;
  up_high += other.up_high;
  up_low += other.up_low;
  pairs += other.pairs;
  gate_max = std::max(gate_max, other.gate_max);
  up_max = std::max(up_max, other.up_max);
  return *this;
}

ClampCount clamp_count(const Tensor& clamped) {
  ClampCount count;
  std::memcpy(&count, clamped.data, sizeof(count));
  return count;
}

Mixture experts(Tape& tape, Tensor x, Tensor gates, Tensor ids, const ExpertWeights& routed,
                const ExpertWeights& shared, float limit, Tensor valid) {
  const std::int64_t N = x.shape.rows(), C = x.shape.cols();
  const std::int64_t E = routed ? routed.w2.shape[0] : 0;
  const std::int64_t F = (routed ? routed : shared).w2.shape.cols();
  for (const ExpertWeights* w : {&routed, &shared}) {
    const std::int64_t G = w == &shared ? 1 : E;
    CHECK(!*w || (w->w2.shape == Shape{G, C, F} && w->w13.shape == Shape{G, 2 * F, C}),
          "experts: x ", x.shape, " does not fit w13 ", w->w13.shape, " and w2 ", w->w2.shape);
  }
  CHECK(routed ? gates.shape == ids.shape && gates.shape.rows() == N : !gates && shared,
        "experts: gates ", gates.shape, " for x ", x.shape, " and ", E, " experts");
  CHECK(!valid || valid.shape.numel() == N, "experts: valid ", valid.shape, " for x ", x.shape);
  const std::int64_t G = E + (shared ? 1 : 0);
  const std::int64_t slots = (gates ? gates.shape.cols() : 0) + (shared ? 1 : 0), R = N * slots;
  Mixture out{tape.alloc(x.shape), tape.alloc({kClampWords}, DType::kI64)};
  tape.apply<Experts>({x, gates, ids, routed, shared, tape.alloc({R, 2 * F}),
                       tape.alloc({R}, DType::kI32), tape.alloc({N, slots}, DType::kI32),
                       tape.alloc({G + 1}, DType::kI32), valid, out.clamped, limit},
                      {x, gates, routed.w13, routed.w2, shared.w13, shared.w2}, {&out.y});
  return out;
}

}  // namespace shoal

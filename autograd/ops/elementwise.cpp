#include "autograd/ops/elementwise.h"

namespace shoal {
namespace {

struct AddToStreams {  // one stream: plain addition
  static constexpr std::string_view kName = "add_to_streams";
  enum Input { kX, kB };
  struct Saved {
    Tensor x, b;
    std::int64_t streams() const { return x.shape.numel() / b.shape.numel(); }
  };

  static void forward(Tape&, const Saved& s, Outputs y) {
    const std::int64_t C = s.b.shape.cols(), n_hc = s.streams();
    for_chunks(s.b.shape.rows(), [&](Range rows) {
      for (std::int64_t i = rows.begin * n_hc; i < rows.end * n_hc; ++i) {
        const float* x = s.x.as<float>() + i * C;
        const float* b = s.b.row(i / n_hc);
        float* out = y[0].as<float>() + i * C;
#pragma omp simd
        for (std::int64_t c = 0; c < C; ++c) out[c] = x[c] + b[c];
      }
    });
  }

  static void backward(Tape&, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t C = s.b.shape.cols(), n_hc = s.streams();
    for_chunks(s.b.shape.rows(), [&](Range rows) {
      for (std::int64_t n = rows.begin; n < rows.end; ++n) {
        const float* g = dy[0].as<float>() + n * n_hc * C;
        if (dx[kX]) {
          write_grad(dx[kX].data() + n * n_hc * C, dx[kX].beta, n_hc * C,
                     [=](std::int64_t i) { return g[i]; });
        }
        for (std::int64_t k = 0; dx[kB] && k < n_hc; ++k) {
          write_grad(dx[kB].data() + n * C, k == 0 ? dx[kB].beta : 1.0F, C,
                     [=](std::int64_t c) { return g[k * C + c]; });
        }
      }
    });
  }
};
const RegisterOp kAddRegistered{kOpInfo<AddToStreams>};

constexpr std::size_t kMaxTerms = Tape::kMaxInputs;

struct WeightedSum {
  static constexpr std::string_view kName = "weighted_sum";
  struct Saved {
    std::array<Term, kMaxTerms> terms;
    std::size_t count;
  };

  static void forward(Tape&, const Saved& s, Outputs y) {
    float sum = 0.0F;
    for (std::size_t i = 0; i < s.count; ++i) sum += s.terms[i].weight * *s.terms[i].x.as<float>();
    *y[0].as<float>() = sum;
  }
  static void backward(Tape&, const Saved& s, Cotangents dy, GradSlots dx) {
    for (std::size_t i = 0; i < s.count; ++i) {
      if (!dx[i]) continue;
      write_grad(dx[i].data(), dx[i].beta, 1,
                 [&](std::int64_t) { return s.terms[i].weight * *dy[0].as<float>(); });
    }
  }
};
const RegisterOp kSumRegistered{kOpInfo<WeightedSum>};

}  // namespace

Tensor add(Tape& tape, Tensor a, Tensor b) {
  CHECK(a.shape == b.shape, "add: ", a.shape, " and ", b.shape);
  return add_to_streams(tape, a, b);
}

Tensor add_to_streams(Tape& tape, Tensor x, Tensor b) {
  CHECK(x.shape.cols() == b.shape.cols() && x.shape.rows() % b.shape.rows() == 0,
        "add_to_streams: ", x.shape, " and ", b.shape);
  Tensor y = tape.alloc(x.shape);
  tape.apply<AddToStreams>({x, b}, {x, b}, {&y});
  return y;
}

Tensor weighted_sum(Tape& tape, std::span<const Term> terms) {
  WeightedSum::Saved saved{{}, 0};
  for (const Term& term : terms) {
    if (!term.x) continue;
    CHECK(saved.count < kMaxTerms, "weighted_sum: at most ", kMaxTerms, " terms");
    CHECK(term.x.shape.numel() == 1, "weighted_sum: a term is ", term.x.shape);
    saved.terms[saved.count++] = term;
  }
  const auto x = [&](std::size_t i) { return saved.terms[i].x; };
  Tensor y = tape.alloc({1});
  tape.apply<WeightedSum>(
      saved, {x(0), x(1), x(2), x(3), x(4), x(5), x(6), x(7), x(8), x(9), x(10), x(11)}, {&y});
  return y;
}

}  // namespace shoal

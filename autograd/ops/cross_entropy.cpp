#include "autograd/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/base/flop_count.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/vec_math.h"

namespace shoal {
namespace {

// A slice's width is fixed, so that a row's sums have one order whatever else is in the batch.
constexpr std::int64_t kSlice = 1024, kRows = 8192;

struct CrossEntropy {
  static constexpr std::string_view kName = "cross_entropy";
  enum Input { kX, kW };
  struct Saved {
    Tensor x, w, targets;
    Tensor lse;  // [N]
    std::int64_t N() const { return x.shape.rows(); }
    std::int64_t C() const { return x.shape.cols(); }
    std::int64_t V() const { return w.shape.rows(); }
    std::int64_t width() const { return std::min(V(), kSlice); }
  };

  // fn(row0, rows, v0, columns) for every slice of every block of rows, in order.
  template <class Fn>
  static void for_slices(const Saved& s, const Fn& fn) {
    for (std::int64_t n = 0; n < s.N(); n += kRows) {
      for (std::int64_t v = 0; v < s.V(); v += kSlice) {
        fn(n, std::min(kRows, s.N() - n), v, std::min(kSlice, s.V() - v));
      }
    }
  }
  static void logits_of(const Saved& s, std::int64_t n, std::int64_t rows, std::int64_t v,
                        std::int64_t columns, float* z) {
    gemm(gemm_forward(rows, columns, s.C(), s.x.row(n), s.w.row(v), z));
  }

  static void count_flops(const Saved& s, double products) {
    if (!FlopCount::is_on()) return;
    const auto* t = s.targets.as<std::int32_t>();
    FlopCount::add_products(products, s.N() - std::count(t, t + s.N(), -1), s.V(), s.C());
  }

  static void forward(Tape& tape, const Saved& s, Outputs y) {
    count_flops(s, 1);
    const std::int64_t N = s.N();
    const auto z = tape.scratch<float>(std::min(N, kRows) * s.width());
    const auto top = tape.scratch<float>(N);     // running maximum
    const auto sum = tape.scratch<float>(N);     // running sum of exp(z - top)
    const auto target = tape.scratch<float>(N);  // the target's logit
    for_slices(s, [&](std::int64_t n0, std::int64_t rows, std::int64_t v0, std::int64_t columns) {
      logits_of(s, n0, rows, v0, columns, z.data());
      for_chunks(rows, [&](Range range) {
        for (std::int64_t i = range.begin; i < range.end; ++i) {
          const std::int64_t n = n0 + i;
          float* row = z.data() + i * columns;
          const std::int64_t t = s.targets.as<std::int32_t>()[n] - v0;
          if (t >= 0 && t < columns) target[n] = row[t];
          const float before = v0 == 0 ? -std::numeric_limits<float>::infinity() : top[n];
          const float now = std::max(before, row_max(row, columns));
#pragma omp simd
          for (std::int64_t v = 0; v < columns; ++v) row[v] = fast_exp(row[v] - now);
          const float kept = v0 == 0 ? 0.0F : sum[n] * fast_exp(before - now);
          sum[n] = kept + row_sum(row, columns);
          top[n] = now;
        }
      });
    });
    if (tape.is_dry()) return;
    double loss = 0.0;
    for (std::int64_t n = 0; n < N; ++n) {
      const float lse = top[n] + std::log(sum[n]);
      s.lse.as<float>()[n] = lse;
      if (s.targets.as<std::int32_t>()[n] >= 0) loss += static_cast<double>(lse) - target[n];
    }
    *y[0].as<float>() = static_cast<float>(loss);
  }

  // dz = (softmax(z) - onehot) dy for rows with a target, else 0;  dx = dz w,  dw = dz^T x.
  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    count_flops(s, (dx[kX] ? 1 : 0) + (dx[kW] ? 1 : 0));
    const std::int64_t C = s.C();
    const auto z = tape.scratch<float>(std::min(s.N(), kRows) * s.width());
    for_slices(s, [&](std::int64_t n0, std::int64_t rows, std::int64_t v0, std::int64_t columns) {
      logits_of(s, n0, rows, v0, columns, z.data());
      const float weight = *dy[0].as<float>();
      for_chunks(rows, [&](Range range) {
        for (std::int64_t i = range.begin; i < range.end; ++i) {
          float* row = z.data() + i * columns;
          const std::int32_t target = s.targets.as<std::int32_t>()[n0 + i];
          if (target < 0) {
            std::fill_n(row, columns, 0.0F);
            continue;
          }
          const float lse = s.lse.as<float>()[n0 + i];
#pragma omp simd
          for (std::int64_t v = 0; v < columns; ++v) row[v] = weight * fast_exp(row[v] - lse);
          const std::int64_t t = target - v0;
          if (t >= 0 && t < columns) row[t] -= weight;
        }
      });
      std::array<Gemm, 2> products;
      std::size_t count = 0;
      if (dx[kX]) {
        products[count++] = gemm_input_grad(rows, columns, C, z.data(), s.w.row(v0),
                                            dx[kX].data() + n0 * C, dx[kX].beta != 0.0F || v0 > 0);
      }
      if (dx[kW]) {
        products[count++] = gemm_weight_grad(rows, columns, C, z.data(), s.x.row(n0),
                                             dx[kW].data() + v0 * C, dx[kW].beta != 0.0F || n0 > 0);
      }
      gemm({products.data(), count});
    });
  }
};
const RegisterOp kRegisterCrossEntropy{kOpInfo<CrossEntropy>};

}  // namespace

Tensor cross_entropy(Tape& tape, Tensor x, Tensor w, Tensor targets) {
  CHECK(x.shape.cols() == w.shape.cols() && targets.shape.numel() == x.shape.rows(),
        "cross_entropy: x ", x.shape, ", w ", w.shape, ", targets ", targets.shape);
  Tensor loss = tape.alloc({1});
  tape.apply<CrossEntropy>({x, w, targets, tape.alloc({x.shape.rows()})}, {x, w}, {&loss});
  return loss;
}

}  // namespace shoal

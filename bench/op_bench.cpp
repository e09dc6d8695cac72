// Ops and kernels at the shapes of configs/replicas/base.yaml, forward and backward: GFLOP/s where
// a matrix product decides, GB/s where memory does. Threads as OMP_NUM_THREADS says.
#include <benchmark/benchmark.h>
#include <cblas.h>

#include <vector>

#include "autograd/base/rng.h"
#include "autograd/kernels/gemm.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/experts.h"
#include "autograd/ops/hyper_connection.h"
#include "autograd/ops/indexer.h"
#include "layers/rope.h"

namespace shoal {
namespace {

std::vector<float> normals(std::int64_t n, std::uint64_t seed) {
  const Rng rng(seed, Purpose::kBench);
  std::vector<float> x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 0.1F * static_cast<float>(rng.normal(i));
  return x;
}

void report_flops(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] = benchmark::Counter(
      flops, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::OneK::kIs1000);
}

// range: rows, outputs, inputs
template <int kind>
void gemm_case(benchmark::State& state) {
  const std::int64_t N = state.range(0), O = state.range(1), C = state.range(2);
  const auto x = normals(N * C, 1), w = normals(O * C, 2), y = normals(N * O, 3);
  std::vector<float> out(static_cast<std::size_t>(std::max({N * O, N * C, O * C})));
  for (auto _ : state) {
    if (kind == 0) gemm(gemm_forward(N, O, C, x.data(), w.data(), out.data()));
    if (kind == 1) gemm(gemm_input_grad(N, O, C, y.data(), w.data(), out.data(), false));
    if (kind == 2) gemm(gemm_weight_grad(N, O, C, y.data(), x.data(), out.data(), false));
    if (kind == 3) {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(N), static_cast<int>(O),
                  static_cast<int>(C), 1.0F, x.data(), static_cast<int>(C), w.data(),
                  static_cast<int>(C), 0.0F, out.data(), static_cast<int>(O));
    }
    benchmark::DoNotOptimize(out.data());
  }
  report_flops(state, 2.0 * static_cast<double>(N * O * C));
}
void gemm_shapes(benchmark::internal::Benchmark* b) {
  for (const auto& s : {std::vector<std::int64_t>{2048, 512, 512},
                        {2048, 1024, 256},
                        {256, 512, 512},
                        {2048, 24, 2048},
                        {2048, 258, 512}}) {
    b->Args(s);
  }
  b->UseRealTime();
}
BENCHMARK(gemm_case<0>)->Name("gemm/forward")->Apply(gemm_shapes);
BENCHMARK(gemm_case<1>)->Name("gemm/input_grad")->Apply(gemm_shapes);
BENCHMARK(gemm_case<2>)->Name("gemm/weight_grad")->Apply(gemm_shapes);
BENCHMARK(gemm_case<3>)->Name("gemm/openblas_forward")->Apply(gemm_shapes);

// Parameters with values and gradients of their own, as leaves of a tape.
struct Leaves {
  explicit Leaves(std::initializer_list<Shape> shapes) : params(shapes.size()) {
    std::size_t i = 0;
    for (const Shape& shape : shapes) {
      values.push_back(normals(shape.numel(), i + 1));
      grads.emplace_back(values.back().size());
      params[i].value = {values.back().data(), shape, DType::kF32, kConstant};
      params[i].grad = {grads.back().data(), shape, DType::kF32, kConstant};
      ++i;
    }
  }
  Tensor operator()(Tape& tape, std::size_t i) { return tape.leaf(params[i]); }
  std::vector<Param> params;
  std::vector<std::vector<float>> values, grads;
};

// Runs `forward` and a backward whose cotangent is y itself.
template <class Forward>
void run_op(benchmark::State& state, const Forward& forward) {
  Tape tape;
  const bool backward = state.range(0) != 0;
  for (auto _ : state) {
    const Tensor y = forward(tape);
    if (backward) {
      tape.seed(y, y);
      tape.walk_back(0);
    }
    tape.end_microbatch();
  }
}

constexpr std::int64_t kRows = 2048, kWidth = 512, kStreams = 4;

void mhc_sublayer(benchmark::State& state) {
  const MixingShape shape{Mixing::kManifold, kStreams, 20, 1e-6F};
  Leaves p({{kRows, kStreams, kWidth},
            {shape.columns(), kStreams * kWidth},
            {shape.columns()},
            {3},
            {kRows, kWidth}});
  run_op(state, [&](Tape& t) {
    const Tensor x = p(t, 0);
    const StreamMix mix = hc_collapse(t, x, p(t, 1), p(t, 2), p(t, 3), shape, 1e-6F);
    return hc_expand(t, x, add(t, mix.read, p(t, 4)), mix.post, mix.comb);
  });
  state.counters["streams/s"] = benchmark::Counter(
      static_cast<double>(kRows * kStreams * kWidth * 4),
      benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::OneK::kIs1024);
}
BENCHMARK(mhc_sublayer)->Arg(0)->Arg(1)->ArgName("backward")->UseRealTime();

// One document of kRows rows, and its entries at a rate.
struct Rows {
  explicit Rows(std::int64_t rate, std::int64_t slots)
      : first(kRows, 0), position(kRows), count(kRows), chosen(kRows * slots) {
    const Rng rng(4, Purpose::kBench);
    for (std::int64_t n = 0; n < kRows; ++n) {
      const auto i = static_cast<std::size_t>(n);
      position[i] = static_cast<std::int32_t>(n);
      count[i] = static_cast<std::int32_t>((n + 1) / rate);
      std::int64_t from = 0;  // a random choice in rising order
      for (std::int64_t slot = 0; slot < slots; ++slot) {
        const std::int64_t left = std::min<std::int64_t>(slots, count[i]) - slot;
        if (left > 0) {
          const std::int64_t room = count[i] - from - left + 1;
          const auto step = rng.below(
              static_cast<std::uint64_t>(n * slots + slot),
              static_cast<std::uint64_t>(std::min<std::int64_t>(room, 2 * count[i] / slots + 1)));
          from += static_cast<std::int64_t>(step) + 1;
        }
        chosen[static_cast<std::size_t>(n * slots + slot)] =
            left > 0 ? static_cast<std::int32_t>(from - 1) : -1;
      }
    }
  }
  static Tensor tensor(std::vector<std::int32_t>& values) {
    return {values.data(),
            {kRows, static_cast<std::int64_t>(values.size()) / kRows},
            DType::kI32,
            kConstant};
  }
  std::vector<std::int32_t> first, position, count, chosen;
};

// range(1): 0 the window alone, else the rate of entries; range(2): how many are chosen, 0: all
void attention_case(benchmark::State& state) {
  constexpr std::int64_t H = 8, D = 128, window = 64;
  const std::int64_t rate = state.range(1), slots = state.range(2);
  const std::int64_t M = rate > 0 ? kRows / rate : 0;
  Leaves p({{kRows, H * D}, {kRows, D}, {H}, {M, D}});
  RopeTableStorage rope(RopeConfig{}, 16);
  rope.grow(kRows);
  Rows rows(std::max<std::int64_t>(1, rate), slots);
  run_op(state, [&](Tape& t) {
    Entries entries;
    if (M > 0) entries = {p(t, 3), Rows::tensor(rows.first), Rows::tensor(rows.count), {}};
    if (slots > 0) entries.chosen = Rows::tensor(rows.chosen);
    return attention(t, p(t, 0), p(t, 1), p(t, 2), Rows::tensor(rows.first),
                     Rows::tensor(rows.position), rope.table(), window, entries)
        .o;
  });
  double pairs = static_cast<double>(kRows * window);
  for (const std::int32_t n : rows.count) {
    if (M > 0) pairs += static_cast<double>(slots > 0 ? std::min<std::int64_t>(n, slots) : n);
  }
  report_flops(state, (state.range(0) != 0 ? 3.0 : 1.0) * 4.0 * pairs * H * D);
}
BENCHMARK(attention_case)
    ->Name("attention")
    ->ArgNames({"backward", "rate", "chosen"})
    ->ArgsProduct({{0, 1}, {0}, {0}})
    ->ArgsProduct({{0, 1}, {16}, {0}})
    ->ArgsProduct({{0, 1}, {4}, {64}})
    ->UseRealTime();

// range(0): rows' scores and choice; 1: the indexer's loss forward, 2: and backward
void indexer_case(benchmark::State& state) {
  constexpr std::int64_t H = 4, D = 64, HT = 8, DT = 128, rate = 4, slots = 64, M = kRows / rate;
  Leaves p({{kRows, H * D}, {M, D}, {kRows, H}, {kRows, HT * DT}, {M, DT}, {kRows, HT}});
  Rows rows(rate, slots);
  std::vector<std::int32_t> valid(kRows, 1);
  Tape tape;
  for (auto _ : state) {
    const IndexScores scores{p(tape, 0), p(tape, 1), p(tape, 2), Rows::tensor(rows.first),
                             Rows::tensor(rows.count)};
    if (state.range(0) == 0) {
      benchmark::DoNotOptimize(choose_entries(tape, scores, slots));
    } else {
      Tensor teacher[3];
      for (std::size_t i = 0; i < 3; ++i) teacher[i] = p.params[3 + i].value;
      const IndexLoss loss = index_loss(tape, scores, {teacher[0], teacher[1], teacher[2]},
                                        Rows::tensor(rows.chosen), Rows::tensor(valid));
      if (state.range(0) == 2) tape.backward(loss.kl);
    }
    tape.end_microbatch();
  }
}
BENCHMARK(indexer_case)->Name("indexer")->ArgName("part")->Arg(0)->Arg(1)->Arg(2)->UseRealTime();

void expert_layer(benchmark::State& state) {
  constexpr std::int64_t E = 32, K = 4, F = 256;
  Leaves p({{kRows, kWidth},
            {kRows, K},
            {E, 2 * F, kWidth},
            {E, kWidth, F},
            {1, 2 * F, kWidth},
            {1, kWidth, F}});
  std::vector<std::int32_t> chosen;
  const Rng rng(9, Purpose::kBench);
  for (std::int64_t n = 0; n < kRows; ++n) {
    const std::uint64_t first = rng.below(static_cast<std::uint64_t>(n), E);
    for (std::uint64_t k = 0; k < K; ++k) {
      chosen.push_back(static_cast<std::int32_t>((first + k * 7) % E));
    }
  }
  const Tensor chosen_NK{chosen.data(), {kRows, K}, DType::kI32, kConstant};
  run_op(state, [&](Tape& t) {
    return experts(t, p(t, 0), p(t, 1), chosen_NK, {p(t, 2), p(t, 3)}, {p(t, 4), p(t, 5)}, 10.0F).y;
  });
  report_flops(state, (state.range(0) != 0 ? 3.0 : 1.0) * 6.0 *
                          static_cast<double>(kRows * (K + 1) * kWidth * F));
}
BENCHMARK(expert_layer)->Arg(0)->Arg(1)->ArgName("backward")->UseRealTime();

}  // namespace
}  // namespace shoal

BENCHMARK_MAIN();

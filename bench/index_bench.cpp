// An indexer's choice of 512 of many keys of 128 dimensions: float32 scores against whole numbers
// of FP4 keys, for the queries of a training step (a batch) and for one that is decoded. Threads as
// OMP_NUM_THREADS says; SHOAL_GEMM=generic turns AVX-512 off for both.
#include <benchmark/benchmark.h>

#include <vector>

#include "autograd/base/rng.h"
#include "autograd/kernels/fp4.h"
#include "autograd/ops/index_choice.h"

namespace shoal {
namespace {

constexpr std::int64_t kWidth = 128, kChosen = 512;

struct Problem {
  std::vector<float> q, key, weight;
  std::vector<std::int32_t> begin, count;
  IndexScores scores;

  Problem(std::int64_t N, std::int64_t H, std::int64_t M)
      : begin(static_cast<std::size_t>(N), 0),
        count(static_cast<std::size_t>(N), static_cast<std::int32_t>(M)) {
    const auto fill = [](std::vector<float>& x, std::int64_t rows, std::int64_t width,
                         std::uint64_t seed) {
      x.resize(static_cast<std::size_t>(rows * width));
      const Rng rng(seed, Purpose::kBench);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
      return Tensor{x.data(), {rows, width}, DType::kF32, kConstant};
    };
    const auto ints = [N](std::vector<std::int32_t>& x) {
      return Tensor{x.data(), {N}, DType::kI32, kConstant};
    };
    scores = {fill(q, N, H * kWidth, 1), fill(key, M, kWidth, 2), fill(weight, N, H, 3),
              ints(begin), ints(count)};
    fp4_round(q.data(), N * H, kWidth, q.data());
    fp4_round(key.data(), M, kWidth, key.data());
  }
};

// range: queries, heads, keys
template <bool kPacked>
void choice(benchmark::State& state) {
  const Problem p(state.range(0), state.range(1), state.range(2));
  Tape tape, kept;
  const PackedKeys keys = kPacked ? pack_keys(kept, p.scores.key) : PackedKeys{};
  for (auto _ : state) {
    const Tensor chosen = kPacked ? choose_entries_fp4(tape, p.scores, keys, kChosen)
                                  : choose_entries(tape, p.scores, kChosen);
    benchmark::DoNotOptimize(chosen.data);
    tape.end_microbatch();
  }
  state.SetLabel(kPacked ? index_kernel().name : "float32");
  state.counters["keys/s"] = benchmark::Counter(
      static_cast<double>(state.range(0) * state.range(2)),
      benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::OneK::kIs1000);
}
void shapes(benchmark::internal::Benchmark* b) {
  for (const std::int64_t M : {16384, 262144}) {
    for (const std::int64_t H : {64, 4}) {
      for (const std::int64_t N : {32, 1}) b->Args({N, H, M});
    }
  }
  b->ArgNames({"queries", "heads", "keys"})->UseRealTime()->Unit(benchmark::kMillisecond);
}
BENCHMARK(choice<false>)->Name("choose/float32")->Apply(shapes);
BENCHMARK(choice<true>)->Name("choose/fp4")->Apply(shapes);

void pack(benchmark::State& state) {
  const Problem p(1, 1, state.range(0));
  Tape tape;
  for (auto _ : state) {
    benchmark::DoNotOptimize(pack_keys(tape, p.scores.key).codes);
    tape.end_microbatch();
  }
}
BENCHMARK(pack)->Name("pack_keys")->Arg(16384)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace shoal

BENCHMARK_MAIN();

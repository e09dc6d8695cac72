// Newton-Schulz's rate, every product counted as 2 m n k, against the machine's peak.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdio>
#include <vector>

#include "autograd/base/parallel.h"
#include "autograd/base/rng.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/peak.h"
#include "optim/newton_schulz.h"
#include "optim/panel/panel.h"

namespace shoal {
namespace {

double peak_gflops = 0.0;

class Matrices : public MatrixRows {
 public:
  Matrices(std::int64_t count, MatrixSize size)
      : columns_(size.columns),
        size_(size.rows * size.columns),
        in_(static_cast<std::size_t>(count * size_)),
        out_(in_.size()) {
    const Rng rng(1, Purpose::kBench);
    for (std::size_t i = 0; i < in_.size(); ++i) in_[i] = static_cast<float>(rng.normal(i));
  }
  void load(std::int64_t matrix, std::int64_t row0, std::int64_t row1, float* rows) override {
    const float* from = in_.data() + matrix * size_;
    std::copy(from + row0 * columns_, from + row1 * columns_, rows);
  }
  void store(std::int64_t matrix, std::int64_t row0, std::int64_t row1,
             const float* rows) override {
    std::copy_n(rows, (row1 - row0) * columns_, out_.data() + matrix * size_ + row0 * columns_);
  }

 private:
  std::int64_t columns_, size_;
  std::vector<float> in_, out_;
};

// Arguments: matrices, rows, columns.
void newton_schulz(benchmark::State& state) {
  const MatrixSize size{state.range(1), state.range(2)};
  Matrices matrices(state.range(0), size);
  NewtonSchulz newton_schulz(
      std::vector<MatrixSize>(static_cast<std::size_t>(state.range(0)), size));
  newton_schulz.run(matrices);
  for (auto _ : state) newton_schulz.run(matrices);
  const double gflop = newton_schulz.flops() * static_cast<double>(state.iterations()) * 1e-9;
  state.counters["GFLOP/s"] = benchmark::Counter(gflop, benchmark::Counter::kIsRate);
  state.counters["of_peak"] = benchmark::Counter(gflop / peak_gflops, benchmark::Counter::kIsRate);
}
BENCHMARK(newton_schulz)
    ->ArgNames({"matrices", "rows", "columns"})
    ->Args({1, 256, 512})
    ->Args({1, 512, 512})
    ->Args({1, 512, 1024})
    ->Args({1, 1024, 1024})
    ->Args({32, 256, 512})
    ->Args({96, 128, 256})
    ->Args({32, 4, 2048})
    ->Args({32, 16, 2048})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace shoal

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  shoal::set_threads_from_environment();
  shoal::require_openmp_blas();
  shoal::peak_gflops = shoal::measure_peak_gflops();
  std::printf("%s\npeak of %d threads: %.1f GFLOP/s; panel kernels: %s\n",
              shoal::blas_description().c_str(), shoal::thread_count(), shoal::peak_gflops,
              shoal::panel_kernels().name);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

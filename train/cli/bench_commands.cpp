// bench step, bench peak.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "autograd/base/memory.h"
#include "autograd/base/parallel.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/peak.h"
#include "train/cli/commands.h"
#include "train/config/load_config.h"
#include "train/metrics/records.h"
#include "train/run/memory_estimate.h"
#include "train/stability/anticipatory.h"
#include "train/step/step_runner.h"
#include "train/trainer.h"

namespace shoal {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

}  // namespace

int bench_step_command(const BenchArguments& args) {
  const RunConfig config = load_config(args.config, args.overrides, {.needs_data = false});
  const RunPlan plan(config);
  if (plan.sizes().size() > 1 || plan.indexer_modes().size() > 1) {
    spdlog::warn("of stages by step (train.stages, indexer.stage) the first is timed");
  }
  const BatchSizes& sizes = plan.sizes().front();
  require_openmp_blas();
  const std::int64_t micro_batches = sizes.micro_batches();
  Model model(require_weights(config));
  model.allocate();
  const MemoryEstimate memory = estimate_memory(model, config, sizes);
  require_memory(memory, config, sizes);
  Peak peak;
  peak.measure();

  Tape tape;
  StepRunner runner(model, tape, step_options(config, micro_batches));
  tape.populate(memory.tape);
  model.initialise(config.run.seed, {});
  const auto batches_at = [&](std::int64_t done, std::vector<Batch>& into) {
    into.clear();
    for (std::int64_t i = 0; i < micro_batches; ++i) {
      into.push_back(shape_batch(sizes.micro_batch, sizes.sequence_length, config.model.vocab_size,
                                 static_cast<std::uint64_t>((done + 1) * 4096 + i)));
    }
  };
  // Under `always` its forward passes are a part of the step.
  AnticipatoryRouting routing(model, tape, config.stability.anticipatory,
                              {[&](std::int64_t) { return plan.at(0); }, batches_at});
  routing.update(0);
  std::vector<Batch> batches;
  std::vector<double> seconds, faults, losses, norms, ce, mtp, balance, index_kl;
  double step_work = 0.0;
  for (std::int64_t step = 1; step <= args.warmup + args.steps; ++step) {
    batches_at(step - 1, batches);
    StepPlan of_step = plan.at(0);
    of_step.number = step;
    of_step.lr = config.optim.lr * 1e-3;
    const long faults_before = page_faults();
    const auto begin = std::chrono::steady_clock::now();
    routing.look_ahead(step - 1, batches);
    of_step.given_ids = routing.given_ids();
    const StepOutcome out = runner.step(batches, of_step);
    routing.batches_used();
    const double time =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (!out.updated) reject(Failure::kNumbers, "bench: step ", step, " is not finite");
    if (step <= args.warmup) continue;
    seconds.push_back(time);
    faults.push_back(static_cast<double>(page_faults() - faults_before));
    losses.push_back(out.loss());
    norms.push_back(out.grads.norm);
    ce.push_back(out.parts.ce);
    mtp.push_back(out.parts.mtp);
    balance.push_back(out.parts.balance);
    index_kl.push_back(out.parts.index_kl);
    step_work = out.flops;
  }
  peak.measure();
  const double time = median(seconds);
  const auto tokens = static_cast<double>(sizes.batch_tokens);
  Json json;
  json["step"] = args.warmup + args.steps;
  json["tokens"] = sizes.batch_tokens;
  json["loss"] = median(losses);
  json["ce"] = median(ce);
  json["mtp"] = median(mtp);
  json["balance"] = median(balance);
  json["index_kl"] = median(index_kl);
  json["lr"] = config.optim.lr * 1e-3;
  json["grad_norm"] = median(norms);
  json["step_seconds"] = time;
  json["tokens_per_second"] = tokens / time;
  json["matmul_peak_share"] = peak.share(step_work, time);
  json["peak_gflops"] = peak.gflops();
  json["threads"] = thread_count();
  json["page_faults_per_step"] = median(faults);
  json["arena_bytes"] = memory.tape.bytes();
  json["parameters"] = model.store().count();
  json["flops_per_token"] = step_work / tokens;
  if (args.json) {
    std::cout << line_of(json) << '\n';
    return 0;
  }
  for (const auto& [key, value] : json.items()) {
    std::cout << std::left << std::setw(22) << key << value.dump() << '\n';
  }
  return 0;
}

int bench_peak_command(bool as_json) {
  require_openmp_blas();
  Peak peak;
  peak.measure();
  const double openblas = measure_product_gflops(ProductOf::kOpenBlas);
  const double shoal = measure_product_gflops(ProductOf::kShoal);
  peak.measure();
  Json json;
  json["peak_gflops"] = peak.gflops();
  json["threads"] = thread_count();
  json["kernels"] = gemm_kernel();
  json["shoal_gflops"] = shoal;
  json["openblas_gflops"] = openblas;
  json["openblas_kernels"] = blas_kernels();
  if (as_json) {
    std::cout << line_of(json) << '\n';
  } else {
    const auto line = [&](const std::string& what, double gflops) {
      std::cout << std::left << std::setw(34) << what << std::right << std::fixed
                << std::setprecision(1) << std::setw(8) << gflops << " GFLOP/s  " << std::setw(5)
                << 100.0 * gflops / peak.gflops() << "%\n";
    };
    std::cout << thread_count() << " threads, each on its own\n";
    line("fused multiply-adds in registers", peak.gflops());
    line(concat("Shoal, 1024^3 (", gemm_kernel(), ")"), shoal);
    line(concat("OpenBLAS, 1024^3 (", blas_kernels(), ")"), openblas);
  }
  if (const std::string advice = advice_on_blas_kernels(); !advice.empty()) spdlog::warn(advice);
  return 0;
}

}  // namespace shoal

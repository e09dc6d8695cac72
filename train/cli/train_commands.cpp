// train and resume.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <iomanip>
#include <iostream>

#include "autograd/base/printable.h"
#include "autograd/base/quantity.h"
#include "autograd/kernels/blas.h"
#include "autograd/kernels/gemm.h"
#include "layers/flops.h"
#include "train/cli/commands.h"
#include "train/config/load_config.h"
#include "train/config/show_config.h"
#include "train/metrics/run_history.h"
#include "train/run/closing.h"
#include "train/run/run_folder.h"
#include "train/run/signals.h"
#include "train/trainer.h"

namespace shoal {
namespace {

std::string mib(std::size_t bytes) {
  return concat((bytes + (std::size_t{1} << 19)) >> 20, " MiB");
}

void say_machine() {
  require_openmp_blas();
  spdlog::info("{} threads on {} allowed cores; products with {}; {}", thread_count(),
               allowed_cores(), gemm_kernel(), blas_description());
  if (thread_count() > allowed_cores()) {
    spdlog::warn(
        "more threads than this process may use cores: set OMP_NUM_THREADS={} (under "
        "mpirun also --bind-to none or --map-by slot:PE=N)",
        allowed_cores());
  }
}

// What there is to train on, in a sentence.
std::string describe(const DataSplit& data) {
  if (const TaskConfig* task = data.train.task()) {
    return concat("task ", name_of(task->kind), " in sequences of ", data.train.sequence_length(),
                  ", ", data.validation.documents(), " held-out episodes to validate");
  }
  return concat(data.train.documents(), " documents in ", data.train.sequences(), " sequences of ",
                data.train.sequence_length(), " to train on, ", data.validation.documents(),
                " to validate");
}

void say_run(Trainer& trainer) {
  const MemoryEstimate& m = trainer.memory();
  spdlog::info("{} parameters; {}", trainer.model().store().count(), describe(trainer.data()));
  const DataSummary summary = trainer.data_summary();
  for (const std::string& line : lines_of(summary)) spdlog::info("{}", printable(line));
  for (const std::string& warning : summary.warnings) spdlog::warn("{}", warning);
  spdlog::info("memory {}: parameters {}, gradients {}, optimizer {}, activations {}",
               mib(m.total()), mib(m.parameters), mib(m.gradients), mib(m.optimizer),
               mib(m.tape.bytes()));
}

int finish(const RunConfig& config, Trainer& trainer, bool strict) {
  const RunEnd end = trainer.run();
  const std::string& dir = config.run.dir;
  if (end == RunEnd::kStopped) {
    spdlog::warn("stopped on request after step {}, saved{}; go on with: shoal resume {}",
                 trainer.step(), trainer.closing(), printable(dir));
  } else {
    spdlog::log(trainer.closing().empty() ? spdlog::level::info : spdlog::level::warn,
                "done at step {}{}; report: {}/report.html", trainer.step(), trainer.closing(),
                printable(dir));
  }
  if (strict && end == RunEnd::kDone && trainer.diverged())
    return static_cast<int>(Failure::kNumbers);
  return static_cast<int>(end);
}

void print_line(const char* what, const std::string& value) {
  std::cout << std::left << std::setw(26) << what << value << '\n';
}

int dry_run(const RunConfig& config, Trainer& trainer, bool ops) {
  const RunPlan plan(config);
  const BatchSizes& most = largest(plan.sizes());
  const MemoryEstimate& m = trainer.memory();
  const std::int64_t T = most.sequence_length;
  const double flops =
      step_flops(config.model, plan.at(0).parts(), shape_batch(1, T, config.model.vocab_size, 0));
  if (ops) {
    std::string dump;
    estimate_memory(trainer.model(), config, most, &dump);
    std::cout << "ops of a micro-batch, with the bytes that each takes:\n" << dump << '\n';
  }
  print_line("parameters", std::to_string(trainer.model().store().count()));
  print_line("GFLOP of training a token", concat(flops / static_cast<double>(T) / 1e9));
  print_line("steps", plan.steps() > 0 ? std::to_string(plan.steps())
                                       : concat(config.train.minutes, " minutes"));
  for (const BatchSizes& s : plan.sizes()) {
    if (plan.sizes().size() == 1) break;
    print_line("  from step", concat(s.from_step, ": ", s.micro_batches(), " micro-batches of ",
                                     s.micro_batch, " sequences of ", s.sequence_length));
  }
  print_line("data", describe(trainer.data()));
  for (const std::string& line : lines_of(trainer.data_summary())) {
    std::cout << "  " << printable(line) << '\n';
  }
  print_line("memory", mib(m.total()));
  print_line("  parameters", mib(m.parameters));
  print_line("  gradients", mib(m.gradients));
  print_line("  optimizer", mib(m.optimizer));
  print_line("  activations (arena)", mib(m.tape.arena_low_peak + m.tape.arena_high_peak));
  print_line("  their gradients", mib(m.tape.grad_peak));
  if (m.routes > 0) print_line("  routes chosen ahead", mib(m.routes));
  print_line("checkpoint", mib(m.parameters + m.optimizer + m.routes));
  return 0;
}

// Did the last process that trained in this folder end with a run that had diverged?
bool has_diverged(const std::string& run) {
  bool diverged = false;
  for (const EventRecord& e : read_history(run + "/metrics.jsonl").events) {
    if (e.event == "start") diverged = false;
    diverged |= e.event == "diverged";
  }
  return diverged;
}

// The run in its folder, which `config.run.dir` names, with these settings.
int go_on(const RunConfig& config, bool strict) {
  say_machine();
  Trainer trainer(config);
  say_run(trainer);
  trainer.resume_run();
  if (trainer.is_finished()) {
    trainer.ensure_report();
    spdlog::info("{} is finished at step {}; nothing to do: {}", printable(config.run.dir),
                 trainer.step(), how_to_go_on(config, trainer.step()));
    return strict && has_diverged(config.run.dir) ? static_cast<int>(Failure::kNumbers) : 0;
  }
  return finish(config, trainer, strict);
}

std::string config_file_of(const std::string& folder) {
  std::string file = folder + "/config.yaml";
  if (!std::filesystem::exists(file)) {
    reject(Failure::kUsage, folder, ": holds no run (there is no config.yaml)");
  }
  return file;
}

// A batch job that is started again types what it typed before: that run goes on.
int go_on_if_equal(const RunConfig& config, bool strict) {
  const std::string& folder = config.run.dir;
  const RunConfig before = load_config(config_file_of(folder), {}, {.needs_data = false});
  std::string different;
  for (const ConfigDifference& d : config_diff(before, config)) {
    if (d.key == "run.dir") continue;  // the folder may have moved
    different += concat(different.empty() ? "" : ", ", d.key, " (", excerpt(d.a), " there, ",
                        excerpt(d.b), " here)");
  }
  if (!different.empty()) {
    reject(Failure::kUsage, folder, ": --or-resume: the run there has other settings: ", different,
           "; go on with its own by `shoal resume ", folder, "`, or choose another run.dir");
  }
  return go_on(config, strict);
}

}  // namespace

int train_command(const TrainArguments& args) {
  ignore_broken_pipes();
  const RunConfig config = load_config(args.config, args.overrides, {.needs_data = true});
  const bool there = holds_run(config.run.dir) && !args.dry_run;
  if (there && !args.or_resume) {
    reject(Failure::kUsage, config.run.dir, ": holds a run already; go on with `shoal resume ",
           config.run.dir, "` or choose another run.dir");
  }
  if (config.checkpoint.step > 0) {
    reject(Failure::kUsage,
           "checkpoint.step: a new run has no checkpoint to begin with; use 0, or ",
           "train.init_from for the weights of another run");
  }
  require_place_for_run(config.run.dir);
  if (!args.dry_run) end_at_once_on_signals();
  if (there) return go_on_if_equal(config, args.strict);
  say_machine();
  Trainer trainer(config);
  if (args.dry_run) return dry_run(config, trainer, args.ops);
  say_run(trainer);
  trainer.create_run();
  spdlog::info("run folder: {}", printable(config.run.dir));
  return finish(config, trainer, args.strict);
}

int resume_command(const ResumeArguments& args) {
  ignore_broken_pipes();
  const std::string folder = run_folder_of(args.run);
  const std::string file = config_file_of(folder);
  // An imported model has no data and was never trained: there are no numbers yet to change.
  const RunConfig before = load_config(file, {}, {.needs_data = false});
  const bool trained = !before.data.train.empty();
  RunConfig config = load_config(file, args.overrides, {.needs_data = true});
  if (config.run.dir != before.run.dir) {
    reject(Failure::kUsage, "run.dir: a run goes on in its own folder, ", folder,
           "; move that, or add --fork NEW_RUN");
  }
  config.run.dir = folder;  // the folder may have moved
  const std::vector<std::string> changed = keys_that_change_numbers(before, config);
  if (trained && !changed.empty() && args.fork.empty()) {
    std::string keys;
    for (const std::string& key : changed) keys += (keys.empty() ? "" : ", ") + key;
    reject(Failure::kUsage, "resume: ", keys,
           " would change the numbers of this run; add --fork NEW_RUN to try it in a new folder");
  }
  end_at_once_on_signals();
  if (!args.fork.empty()) {
    config.run.dir = std::filesystem::absolute(args.fork).lexically_normal();
    require_place_for_run(config.run.dir);
    say_machine();
    Trainer trainer(config);
    say_run(trainer);
    trainer.fork_run(folder);
    const std::string learned = what_was_learned(before, config);
    if (!learned.empty()) spdlog::warn("{}", learned);
    return finish(config, trainer, args.strict);
  }
  require_place_for_run(folder);
  return go_on(config, args.strict);
}

}  // namespace shoal

// eval, generate, parity, report: what needs a model and no training.
#include <spdlog/spdlog.h>

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/store.h"
#include "train/cli/commands.h"
#include "train/config/load_config.h"
#include "train/evaluator.h"
#include "train/generator.h"
#include "train/interop/parity.h"
#include "train/metrics/printable.h"
#include "train/metrics/progress.h"
#include "train/report/report.h"
#include "train/run_state.h"
#include "train/trainer.h"

namespace shoal {
namespace {

// A model with the weights of a run's newest checkpoint, or of the one named.
struct LoadedModel {
  RunConfig config;
  std::int64_t step = 0;
  std::unique_ptr<Model> model;
};

LoadedModel load_model(const std::string& path, const std::vector<std::string>& overrides) {
  PosixIo io;
  CheckpointStore::Stored stored = read_stored(io, path);
  for (const std::string& warning : stored.report.warnings) {
    spdlog::warn("{}", printable(warning));
  }
  LoadedModel loaded;
  loaded.config = parse_config(stored.state.config, stored.report.path + " (its configuration)",
                               overrides, {.needs_data = false});
  loaded.step = stored.state.step;
  loaded.model = std::make_unique<Model>(loaded.config.model);
  loaded.model->allocate();
  StateView view = model_view(*loaded.model);
  copy_state(stored.state, view, stored.report.path, "/model/");
  return loaded;
}

}  // namespace

int eval_command(const EvalArguments& args) {
  const LoadedModel loaded = load_model(args.run, args.overrides);
  const std::vector<Stage> stages = stages_of(loaded.config);
  const RunConfig config = config_at(
      loaded.config, stages[stage_at(stages, std::max<std::int64_t>(loaded.step - 1, 0))]);
  const auto tokenizer = make_tokenizer(config.data.tokenizer);
  const DataSplit data = load_data(data_config(config), *tokenizer);
  for (const std::string& warning : data.warnings) spdlog::warn("{}", printable(warning));
  if (data.validation.sequences() == 0) {
    reject(Failure::kUsage,
           "data.validation: this run has no validation data; name some with "
           "data.validation=[FILE] or data.validation=0.05");
  }
  Tape tape;
  const Evaluation e = evaluate(*loaded.model, tape, data.validation, config.train.micro_batch,
                                config.train.eval_sequences);
  EvalRecord record;
  record.step = loaded.step;
  record.loss = e.loss;
  record.bits_per_byte = e.bits_per_byte;
  record.tokens = e.tokens;
  record.bytes = e.bytes;
  record.answers = e.answers;
  record.answer_accuracy = e.answer_accuracy;
  if (args.json) {
    Json json = json_of(record);
    json.erase("eval_seconds");
    json.erase("time");
    std::cout << line_of(json) << '\n';
  } else {
    std::cout << "step " << loaded.step << ": loss " << e.loss << ", ";
    if (e.answers > 0) {
      std::cout << 100.0 * e.answer_accuracy << "% of " << e.answers << " answer tokens right ("
                << e.tokens << " tokens)\n";
    } else {
      std::cout << e.bits_per_byte << " bits per byte (" << e.tokens << " tokens, " << e.bytes
                << " bytes of text)\n";
    }
  }
  return 0;
}

int generate_command(const GenerateArguments& args) {
  const LoadedModel loaded = load_model(args.run, {});
  const auto tokenizer = make_tokenizer(loaded.config.data.tokenizer);
  Tape tape;
  const SamplingConfig sampling{args.tokens, args.temperature, args.top_p, args.seed};
  if (args.json) {
    const std::string text = generate(*loaded.model, tape, *tokenizer, args.prompt, sampling);
    Json json;
    json["prompt"] = args.prompt;
    json["text"] = text;
    json["step"] = loaded.step;
    std::cout << line_of(json) << '\n';
    return 0;
  }
  std::cout << args.prompt << std::flush;
  generate(*loaded.model, tape, *tokenizer, args.prompt, sampling,
           [](const std::string& piece) { std::cout << piece << std::flush; });
  std::cout << '\n';
  return 0;
}

int report_command(const std::string& run) {
  std::cout << write_report(run_folder_of(run)) << '\n';
  return 0;
}

int parity_command(const std::vector<std::string>& cases, bool json) {
  std::vector<ParityRun> runs;
  std::vector<ParityComparison> comparisons;
  bool passed = true;
  for (const std::string& folder : cases) {
    runs.push_back(run_parity(folder));
    comparisons.push_back(*runs.back().comparison);
    passed &= comparisons.back().passed();
  }
  if (json) {
    std::cout << parity_json(comparisons).dump() << '\n';
  } else {
    print_parity(std::cout, comparisons);
  }
  if (passed) return 0;
  std::cerr << "shoal: parity: beyond tolerance\n";
  return static_cast<int>(Failure::kComparison);
}

}  // namespace shoal

// eval, parity, report: what needs a model and no training.
#include <spdlog/spdlog.h>

#include <array>
#include <iostream>
#include <nlohmann/json.hpp>

#include "autograd/base/printable.h"
#include "train/cli/commands.h"
#include "train/cli/loaded_model.h"
#include "train/generate/evaluator.h"
#include "train/parity/parity.h"
#include "train/plan/batch_source.h"
#include "train/report/report.h"
#include "train/run/run_folder.h"

namespace shoal {
namespace {

// Sections and keys that decide an evaluation.
constexpr std::array kOfEvaluation = {"data",
                                      "indexer",
                                      "model",
                                      "train.batch_tokens",
                                      "train.eval_sequences",
                                      "train.micro_batch",
                                      "train.stages",
                                      "checkpoint.step"};

void require_of_evaluation(const std::string& key) {
  std::string taken;
  for (const std::string name : kOfEvaluation) {
    if (key == name || key.starts_with(name + ".")) return;
    taken += (taken.empty() ? "" : ", ") + name;
  }
  reject(Failure::kUsage, key, ": changes nothing in an evaluation; eval takes ", taken);
}

}  // namespace

int eval_command(const EvalArguments& args) {
  const LoadedModel loaded = load_model(args.run, args.overrides);
  for (const std::string& key : loaded.changed) require_of_evaluation(key);
  const RunConfig& config = loaded.config;
  const StepPlan plan = RunPlan(config).at(loaded.step);
  DataConfig corpora = data_config(config, plan.sizes.sequence_length);
  // An imported model has no training data, and an evaluation needs none.
  if (corpora.train.empty() && corpora.validation_files.empty()) {
    reject(Failure::kUsage, "this run has no data; name some with data.validation=[FILE]");
  }
  const auto tokenizer = make_tokenizer(config.data.tokenizer);
  const DataSplit data = load_data(corpora, *tokenizer);
  for (const std::string& warning : data.warnings) spdlog::warn("{}", printable(warning));
  if (data.validation.sequences() == 0) {
    reject(Failure::kUsage, "data.validation: this run has no validation data",
           data.train.task() != nullptr
               ? "; data.validation=0.05 asks for held-out episodes"
               : ": it was trained on all of data.train, so that a share of that would be "
                 "documents that it has learned; name other files with data.validation=[FILE]");
  }
  const std::string learned = what_was_learned(loaded.trained, config);
  if (!learned.empty()) spdlog::warn("{}", learned);
  Tape tape;
  EvalRecord e = evaluate(*loaded.model, tape, data.validation, plan.sizes.micro_batch,
                          config.train.eval_sequences, plan.indexer);
  e.step = loaded.step;
  if (args.json) {
    Json json = json_of(e);
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
    for (const SourceScore& s : e.sources) {
      std::cout << "  " << printable(s.source) << ": loss " << s.loss << ", " << s.bits_per_byte
                << " bits per byte (" << s.bytes << " bytes)\n";
    }
  }
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

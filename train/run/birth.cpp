#include "train/run/birth.h"

#include <spdlog/spdlog.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <utility>

#include "autograd/base/printable.h"
#include "train/config/load_config.h"
#include "train/config/show_config.h"
#include "train/interop/load_weights.h"
#include "train/metrics/metrics_log.h"
#include "train/run/data_summary.h"
#include "train/run/run_events.h"
#include "train/run/signals.h"
#include "train/run/version.h"

namespace shoal {
namespace fs = std::filesystem;
namespace {

// Only where a run begins: whoever goes on from a checkpoint may have deleted them since.
void load_initial_weights(Io& io, const RunConfig& config, Model& model) {
  const std::string& from = config.train.init_from;
  if (from.empty()) return;
  if (ModelWeights::lie_in(from)) {
    load_weights(model, ModelWeights::open(from));
  } else {
    StateView view = model_view(model);
    const CheckpointStore::Stored stored = read_stored(io, from);
    copy_state(stored.state, view, from, "/model/");
    const RunConfig before =
        parse_config(stored.state.config, from + " (its configuration)", {}, {.needs_data = false});
    const std::string learned = what_was_learned(before, config);
    if (!learned.empty()) spdlog::warn("{}", learned);
  }
  spdlog::info("weights from {}", printable(from));
}

std::unique_ptr<RunFolder> open_folder(Io& io, const RunConfig& config) {
  watch_signals();
  return std::make_unique<RunFolder>(io, config.run.dir);
}

// Opens the folder and lets `write` make a run of it. If that fails nothing stays behind.
std::unique_ptr<RunFolder> begin_folder(Io& io, const RunConfig& config,
                                        const std::function<void(RunFolder&)>& write) {
  std::error_code ignored;
  const bool was_there = fs::exists(config.run.dir, ignored);
  std::unique_ptr<RunFolder> folder;
  try {
    folder = open_folder(io, config);
    write(*folder);
  } catch (const Error& error) {
    if (!was_there && error.why() == Failure::kDisk) {  // else it may be another process's
      RunFolder::remove_beginning(config.run.dir);
    }
    throw;
  }
  return folder;
}

std::optional<std::int64_t> wanted_step(RunConfig& config) {
  const std::int64_t step = std::exchange(config.checkpoint.step, 0);
  return step > 0 ? std::optional(step) : std::nullopt;
}

// Contents decide, not where they lie.
void check_origin(const LoadReport& report, const std::string& data_fingerprint) {
  const ManifestInfo& info = report.manifest.info;
  if (!info.data_fingerprint.empty() &&
      info.data_fingerprint != data_fingerprint) {  // "": imported
    reject(Failure::kData, report.path,
           ": was trained on other data than data.train holds now; restore the corpus, go on with "
           "the new one in a folder of its own (--fork NEW_RUN), or start from these weights with "
           "train.init_from");
  }
  if (info.cpu_features != cpu_features()) {
    spdlog::warn(
        "the checkpoint comes from another kind of processor ({}): results go on "
        "numerically equivalent, not with equal bits",
        printable(info.cpu_features));
  }
}

}  // namespace

void require_no_run(const RunConfig& config, const std::string& remedy) {
  if (!holds_run(config.run.dir)) return;
  reject(Failure::kUsage, config.run.dir, ": holds a run already; ", remedy);
}

Birth begin_run(Io& io, RunConfig& config, Model& model) {
  load_initial_weights(io, config, model);
  config.checkpoint.step = 0;
  Birth birth;
  birth.folder = begin_folder(
      io, config, [&](RunFolder&) { write_run_config(config.run.dir, to_yaml(config)); });
  return birth;
}

Birth resume_run(Io& io, RunConfig& config, Model& model, TrainingState& state,
                 const std::string& data_fingerprint) {
  Birth birth;
  birth.folder = open_folder(io, config);
  CheckpointStore& store = birth.folder->store();
  const std::optional<std::int64_t> step = wanted_step(config);
  std::string before;  // the configuration that it goes on from
  if (const auto stored = store.read_newest(step)) {
    const LoadReport& report = stored->report;
    for (const std::string& warning : report.warnings) spdlog::warn("{}", printable(warning));
    state.load(stored->state, report.path);
    before = stored->state.config;
    birth.saved_step = state.position.step;
    birth.notes = report.manifest.info.notes;
    birth.clock.go_on(birth.notes);
    check_origin(report, data_fingerprint);
    spdlog::info("resumed at step {} from {}", state.position.step, printable(report.path));
  } else {
    before = run_config_text(config.run.dir);
    load_initial_weights(io, config, model);
    spdlog::info("{} has no checkpoint yet: starting at step 0", printable(config.run.dir));
  }
  if (step) {
    // The lines of metrics after it go, so these go as well; and the next resume goes on from here,
    // not back again.
    for (const std::string& path : store.discard_after(state.position.step)) {
      spdlog::info("removed {}", printable(path));
    }
  }
  birth.origin = {state.position.step, "resume", changed_fields(before, config)};
  write_run_config(config.run.dir, to_yaml(config));
  return birth;
}

Birth fork_run(Io& io, RunConfig& config, TrainingState& state, const std::string& from,
               const ManifestInfo& info, const std::function<void()>& afresh) {
  const CheckpointStore::Stored stored = read_stored(io, from, wanted_step(config));
  state.load(stored.state, from);
  if (afresh) afresh();
  Birth birth;
  birth.clock.begin(state.position.tokens);
  birth.origin = {state.position.step, "fork", fork_fields(from, stored.state.config, config)};
  birth.folder = begin_folder(io, config, [&](RunFolder& folder) {
    // Before the configuration makes it a run: a fork without its beginning would start at step 0.
    StateView view = state.view();
    view.config = to_yaml(config);
    folder.store().save(view, info, config.checkpoint.keep);
    copy_lines_through(from + "/metrics.jsonl", config.run.dir + "/metrics.jsonl",
                       state.position.step);
    write_run_config(config.run.dir, view.config);
  });
  birth.saved_step = state.position.step;
  spdlog::info("forked at step {} from {}", state.position.step, printable(from));
  return birth;
}

}  // namespace shoal

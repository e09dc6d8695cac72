#include "train/cli/loaded_model.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "autograd/base/check.h"
#include "autograd/base/printable.h"
#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/store.h"
#include "train/config/load_config.h"
#include "train/config/show_config.h"
#include "train/run/training_state.h"

namespace shoal {

namespace {

// What checkpoint.step=N asks for. It has to be known before a checkpoint's own configuration is,
// which has no such wish.
std::optional<std::int64_t> wanted_step(const std::vector<std::string>& overrides) {
  std::vector<std::string> of_checkpoints;
  std::copy_if(overrides.begin(), overrides.end(), std::back_inserter(of_checkpoints),
               [](const std::string& text) { return text.starts_with("checkpoint"); });
  const RunConfig config = parse_config("model: {num_hidden_layers: 1}", "checkpoint.step",
                                        of_checkpoints, {.needs_data = false});
  return config.checkpoint.step > 0 ? std::optional(config.checkpoint.step) : std::nullopt;
}

}  // namespace

LoadedModel load_model(const std::string& path, const std::vector<std::string>& overrides) {
  PosixIo io;
  LoadedModel loaded;
  const std::optional<std::int64_t> wanted = wanted_step(overrides);
  const CheckpointStore::Stored stored = read_stored(io, path, wanted);
  loaded.step = stored.state.step;
  if (wanted && *wanted != loaded.step) {
    reject(Failure::kUsage, "checkpoint.step: ", path, " is of step ", loaded.step, ", not ",
           *wanted, "; name the run, or leave that key out");
  }
  const auto config = [&](const std::vector<std::string>& with) {
    return parse_config(stored.state.config, stored.report.path + " (its configuration)", with,
                        {.needs_data = false});
  };
  loaded.config = config(overrides);
  loaded.trained = config({});
  for (const ConfigDifference& d : config_diff(loaded.trained, loaded.config)) {
    loaded.changed.push_back(d.key);
  }
  for (const std::string& warning : stored.report.warnings) {
    spdlog::warn("{}", printable(warning));
  }
  loaded.model = std::make_unique<Model>(loaded.config.model);
  loaded.model->allocate();
  StateView view = model_view(*loaded.model);
  copy_state(stored.state, view, stored.report.path, "/model/");
  loaded.model->set_precision(loaded.config.model.precision_at(loaded.step));
  return loaded;
}

}  // namespace shoal

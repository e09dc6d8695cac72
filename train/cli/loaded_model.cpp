#include "train/cli/loaded_model.h"

#include <spdlog/spdlog.h>

#include <optional>

#include "autograd/base/check.h"
#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/store.h"
#include "train/config/load_config.h"
#include "train/metrics/printable.h"
#include "train/run_state.h"

namespace shoal {

LoadedModel load_model(const std::string& path, const std::vector<std::string>& overrides) {
  PosixIo io;
  LoadedModel loaded;
  CheckpointStore::Stored stored;
  const auto read = [&](std::optional<std::int64_t> step) {
    stored = read_stored(io, path, step);
    loaded.config = parse_config(stored.state.config, stored.report.path + " (its configuration)",
                                 overrides, {.needs_data = false});
    loaded.step = stored.state.step;
  };
  read({});
  // A stored configuration has no such wish: it comes from the command line.
  const std::int64_t wanted = loaded.config.checkpoint.step;
  if (wanted > 0 && wanted != loaded.step) read(wanted);
  if (wanted > 0 && wanted != loaded.step) {
    reject(Failure::kUsage, "checkpoint.step: ", path, " is of step ", loaded.step, ", not ",
           wanted, "; name the run, or leave that key out");
  }
  for (const std::string& warning : stored.report.warnings) {
    spdlog::warn("{}", printable(warning));
  }
  loaded.model = std::make_unique<Model>(loaded.config.model);
  loaded.model->allocate();
  StateView view = model_view(*loaded.model);
  copy_state(stored.state, view, stored.report.path, "/model/");
  return loaded;
}

}  // namespace shoal

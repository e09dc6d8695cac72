#include "train/cli/loaded_model.h"

#include <spdlog/spdlog.h>

#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/store.h"
#include "train/config/load_config.h"
#include "train/metrics/printable.h"
#include "train/run_state.h"

namespace shoal {

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

}  // namespace shoal

#include "train/run/import_run.h"

#include <algorithm>
#include <filesystem>

#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/store.h"
#include "train/config/load_config.h"
#include "train/config/show_config.h"
#include "train/interop/load_weights.h"
#include "train/interop/model_folder.h"
#include "train/interop/new_folder.h"
#include "train/run/run_folder.h"
#include "train/run/training_state.h"
#include "train/run/version.h"

namespace shoal {
namespace fs = std::filesystem;
namespace {

RunConfig run_config(const ModelConfig& model, const std::string& run) {
  RunConfig config;
  config.model = model;
  config.run.dir = run;
  // Of one step, should somebody train it; the defaults are for a model with room for them.
  config.data.sequence_length =
      std::min(config.data.sequence_length, model.max_position_embeddings);
  config.train.batch_tokens = 4 * config.train.micro_batch * config.data.sequence_length;
  return parse_config(to_yaml(config), run + " (its configuration)", {}, {.needs_data = false});
}

}  // namespace

Imported import_model(const std::string& folder, const std::string& run) {
  NewFolder out(run);
  Imported done;
  done.run = out.path();
  if (!fs::is_directory(folder)) {
    reject(Failure::kData, folder, ": is no folder with config.json and model.safetensors");
  }
  const auto [model_config, weights] = read_model_folder(folder, done.warnings);
  require_byte_tokenizer(folder, model_config);
  const RunConfig config = run_config(model_config, done.run);
  Model model(config.model);
  check_weights(model, weights);
  model.allocate();
  load_weights(model, weights);
  done.parameters = model.store().count();

  StateView view = model_view(model);
  view.config = to_yaml(config);
  if (const std::string sick = first_not_finite(view.arrays); !sick.empty()) {
    reject(Failure::kData, folder, ": ", sick,
           " has a NaN or an infinity; expected finite weights");
  }
  ManifestInfo info;
  info.program = program_version();
  info.cpu_features = cpu_features();
  info.notes["imported_from"] = fs::absolute(folder).lexically_normal().string();
  PosixIo io;
  const std::string& at = out.begin();
  CheckpointStore(io, at + "/checkpoints").save(view, info, 1);
  write_run_config(at, view.config);
  out.commit();
  return done;
}

}  // namespace shoal

#include "train/interop/import_model.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/tokenizer/bytes.h"
#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/store.h"
#include "train/config/load_config.h"
#include "train/config/published/model_json.h"
#include "train/config/show_config.h"
#include "train/interop/json_file.h"
#include "train/interop/load_weights.h"
#include "train/interop/new_folder.h"
#include "train/interop/tokenizer_files.h"
#include "train/run/run_folder.h"
#include "train/run/run_state.h"
#include "train/run/version.h"

namespace shoal {
namespace fs = std::filesystem;
namespace {

// Text would reach the model as other ids than it was trained on.
void check_tokenizer(const std::string& folder, const ModelConfig& model) {
  const std::string file = folder + "/tokenizer.json", config = folder + "/config.json";
  if (fs::exists(file) && !is_byte_tokenizer(read_json_object(file))) {
    reject(Failure::kUsage, file, ": is not the byte tokenizer, and no other can be read yet; ",
           "train.init_from takes the weights alone");
  }
  const ByteTokenizer bytes;
  if (model.vocab_size < bytes.vocab_size()) {
    reject(Failure::kUsage, config, ": vocab_size: ", model.vocab_size,
           " is too small for bytes, the only tokenizer; expected ", bytes.vocab_size(),
           " or more");
  }
  if (model.bos_token_id != bytes.bos() || model.eos_token_id != bytes.eos()) {
    reject(Failure::kUsage, config, ": bos_token_id ", model.bos_token_id, " and eos_token_id ",
           model.eos_token_id, "; expected ", bytes.bos(), " and ", bytes.eos(),
           ", those of bytes, the only tokenizer");
  }
}

// Counts that no file backs must not cost memory: said before a model is built.
void check_counts(const std::string& folder, const ModelConfig& model,
                  const ModelWeights& weights) {
  const auto tensors = static_cast<std::int64_t>(weights.parts().size());
  const auto require = [&](const char* key, std::int64_t claimed, std::int64_t least) {
    if (least <= tensors) return;
    reject(Failure::kData, folder, "/config.json: ", key, ": ", claimed, " need at least ", least,
           " tensors, but the weights are ", tensors, " in all");
  };
  const auto layers = static_cast<std::int64_t>(model.layer_types.size());
  require("layer_types", layers, layers);
  const auto with_experts =
      layers - std::count(model.mlp_layer_types.begin(), model.mlp_layer_types.end(),
                          FeedForwardKind::kDense);
  require("n_routed_experts", model.n_routed_experts, model.n_routed_experts * with_experts);
}

struct ModelFolder {
  ModelConfig config;
  ModelWeights weights;
};

// config.json and weights; whether they fit each other, check_weights says.
ModelFolder read_folder(const std::string& folder, std::vector<std::string>& warnings) {
  const std::string file = folder + "/config.json";
  ModelConfig config = model_from_json(read_json_object(file, kMostConfigBytes), file, &warnings);
  config.finish(file);
  ModelWeights weights = ModelWeights::open(folder);
  check_counts(folder, config, weights);
  if (config.num_nextn_predict_layers > 0 && lacks_mtp(weights)) {
    config.num_nextn_predict_layers = 0;
    warnings.push_back(folder + ": has no prediction block (mtp.0), so the run has none");
  }
  return {std::move(config), std::move(weights)};
}

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

void check_model_folder(const std::string& folder) {
  std::vector<std::string> warnings;
  const auto [config, weights] = read_folder(folder, warnings);
  Model model(config);
  check_weights(model, weights);
}

Imported import_model(const std::string& folder, const std::string& run) {
  NewFolder out(run);
  Imported done;
  done.run = out.path();
  if (!fs::is_directory(folder)) {
    reject(Failure::kData, folder, ": is no folder with config.json and model.safetensors");
  }
  const auto [model_config, weights] = read_folder(folder, done.warnings);
  check_tokenizer(folder, model_config);
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

#include "train/interop/model_folder.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/tokenizer/bytes.h"
#include "train/config/published/model_json.h"
#include "train/interop/json_file.h"
#include "train/interop/load_weights.h"
#include "train/interop/tokenizer_files.h"

namespace shoal {
namespace fs = std::filesystem;
namespace {

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

}  // namespace

ModelFolder read_model_folder(const std::string& folder, std::vector<std::string>& warnings) {
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

void check_model_folder(const std::string& folder) {
  std::vector<std::string> warnings;
  const auto [config, weights] = read_model_folder(folder, warnings);
  Model model(config);
  check_weights(model, weights);
}

void require_byte_tokenizer(const std::string& folder, const ModelConfig& model) {
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

}  // namespace shoal

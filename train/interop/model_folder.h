#pragma once
#include <string>
#include <vector>

#include "layers/config.h"
#include "train/interop/model_weights.h"

namespace shoal {

// A Hugging Face model folder. Error(kData) where config.json or the weights are not sound or do
// not fit each other, Error(kUsage) for a model that cannot be run here.
struct ModelFolder {
  ModelConfig config;
  ModelWeights weights;
};

// config.json and the headers of the weights; whether they fit each other, check_weights says. A
// folder from transformers lacks the prediction block, and so does its configuration then.
ModelFolder read_model_folder(const std::string& folder, std::vector<std::string>& warnings);
// The same, with the fitting.
void check_model_folder(const std::string& folder);

// Error(kUsage) unless the model reads bytes: text would reach it as other ids than it was trained
// on.
void require_byte_tokenizer(const std::string& folder, const ModelConfig& model);

}  // namespace shoal

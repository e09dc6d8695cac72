#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "layers/model.h"
#include "train/config/run_config.h"

namespace shoal {

// A model with the weights of a run's newest checkpoint, or of the one named.
struct LoadedModel {
  RunConfig config;
  RunConfig trained;                 // the same without overrides: what the weights come from
  std::vector<std::string> changed;  // keys that the overrides gave other values
  std::int64_t step = 0;
  std::unique_ptr<Model> model;
};

LoadedModel load_model(const std::string& path, const std::vector<std::string>& overrides);

}  // namespace shoal

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "autograd/base/check.h"
#include "train/config/published/model_json.h"

// config.json: an Error about data or about the combination, or a model that survives being
// written and read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const nlohmann::json json = nlohmann::json::parse(data, data + size, nullptr, false);
  if (json.is_discarded()) return 0;
  try {
    shoal::ModelConfig model = shoal::model_from_json(json, "config.json", nullptr);
    model.finish("config.json");
    if (shoal::model_from_json(shoal::model_to_json(model), "written", nullptr) != model) {
      std::abort();
    }
  } catch (const shoal::Error& error) {
    if (error.why() != shoal::Failure::kData && error.why() != shoal::Failure::kUsage) std::abort();
    if (std::string(error.what()).find("written") == 0) std::abort();
  }
  return 0;
}

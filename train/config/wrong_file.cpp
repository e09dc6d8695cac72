#include "train/config/wrong_file.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "autograd/base/check.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModelJson =
    "put its keys under model:, or make a run of its weights with `shoal import`";

bool holds(const std::string& folder, const char* name) {
  std::error_code ignored;
  return fs::exists(fs::path(folder) / name, ignored);
}

std::string wrong_folder(const std::string& path) {
  if (holds(path, "config.yaml")) {
    return concat("is a run's folder; go on with `shoal resume ", path, "`, or name ", path,
                  "/config.yaml");
  }
  if (holds(path, "state.h5") || holds(path, "manifest.json")) {
    return "is a checkpoint; name the config.yaml of its run";
  }
  if (holds(path, "config.json")) {
    return concat("is a model's folder; make a run of it with `shoal import ", path,
                  " RUN`, or put the keys of its config.json under model:");
  }
  return "is a folder; name the YAML file in it";
}

// Of a JSON object without a section of ours.
std::optional<std::string> wrong_json(std::string_view bytes) {
  const auto json = nlohmann::json::parse(bytes, nullptr, false);
  if (!json.is_object() || json.contains("model") || json.contains("extends")) return std::nullopt;
  if (json.contains("manifest_sha256")) {
    return "is a checkpoint's manifest; name the config.yaml of its run";
  }
  if (json.contains("weight_map")) {
    return "is an index of a model's weights; name a YAML file";
  }
  if (json.contains("kind") && json.contains("step")) {
    return "is a run's metrics; name the config.yaml beside it";
  }
  for (const char* name : {"model_type", "hidden_size", "architectures", "num_hidden_layers"}) {
    if (json.contains(name)) return concat("is a model's config.json: ", kModelJson);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> wrong_file(const std::string& path,
                                      std::optional<std::string_view> bytes) {
  if (!bytes) return wrong_folder(path);
  if (bytes->starts_with("SHOALTOK")) {
    return "is a token file; name a YAML file whose data.train lists it";
  }
  if (bytes->starts_with("\x89HDF\r\n")) {
    return "is a checkpoint's state; name the config.yaml of its run";
  }
  if (bytes->size() > 9 && (*bytes)[8] == '{' && path.ends_with(".safetensors")) {
    return concat("holds a model's weights; of their config.json: ", kModelJson);
  }
  const std::size_t first = bytes->find_first_not_of(" \t\r\n");
  if (first == bytes->npos || (*bytes)[first] != '{') return std::nullopt;
  if (const auto wrong = wrong_json(*bytes)) return wrong;
  return wrong_json(bytes->substr(0, bytes->find('\n')));  // of many lines of JSON the first
}

}  // namespace shoal

#include "train/interop/weight_index.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "autograd/base/check.h"
#include "train/interop/json_file.h"
#include "train/interop/safetensors_header.h"

namespace shoal {
namespace {

// A name that cannot lead out of the folder.
bool is_plain_file(std::string_view name) {
  return name.size() <= 255 && name.ends_with(".safetensors") && name.front() != '.' &&
         std::none_of(name.begin(), name.end(), [](char c) {
           return c == '/' || c == '\\' || static_cast<unsigned char>(c) < ' ' || c == '\x7f';
         });
}

WeightIndex from_json(const nlohmann::json& json, const std::string& where) {
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object() || map->empty()) {
    reject(Failure::kData, where, ": weight_map needs an object of tensor names and their files");
  }
  WeightIndex index;
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string() || !is_plain_file(file.get_ref<const std::string&>())) {
      reject(Failure::kData, where, ": tensor ", in_quotes(name), " is in ",
             file.is_string() ? in_quotes(file.get<std::string>()) : "no text",
             "; expected the plain name of a .safetensors file in this folder");
    }
    index.file_of[name] = file.get<std::string>();
  }
  const auto metadata = json.find("metadata");
  if (metadata == json.end()) return index;
  if (!metadata->is_object()) reject(Failure::kData, where, ": metadata needs an object");
  const auto total = metadata->find("total_size");
  if (total == metadata->end()) return index;
  // Some writers of it have put a float there.
  if (!total->is_number() || total->get<double>() < 0 || total->get<double>() > 9e15) {
    reject(Failure::kData, where, ": metadata.total_size needs a number of bytes");
  }
  index.total_bytes = total->get<std::int64_t>();
  return index;
}

}  // namespace

WeightIndex parse_weight_index(const std::string& text, const std::string& where) {
  return from_json(parse_json_object(text, where), where);
}

WeightIndex read_weight_index(const std::string& path) {
  return from_json(read_json_object(path), path);
}

std::string weight_index_text(const WeightIndex& index) {
  nlohmann::json json;
  json["metadata"]["total_size"] = index.total_bytes;
  json["weight_map"] = index.file_of;
  return json.dump(2) + "\n";
}

std::string shard_name(std::int64_t number, std::int64_t count) {
  const auto five = [](std::int64_t n) {
    const std::string digits = std::to_string(n);
    return std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits;
  };
  return "model-" + five(number) + "-of-" + five(count) + ".safetensors";
}

}  // namespace shoal

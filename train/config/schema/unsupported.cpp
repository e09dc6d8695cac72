#include "train/config/schema/unsupported.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
namespace shoal {
namespace {

constexpr std::array<std::pair<const char*, const char*>, 3> kUnsupported = {{
    {"model.expert_dtype", "all numbers are float32 here; leave it out, or say model.fp4.experts"},
    {"model.quantization_config",
     "quantized weights cannot be read or trained, all numbers are float32 here; leave it out, and "
     "convert the weights to bfloat16 or float32 first"},
    {"dist", "training over several processes does not exist yet; leave it out"},
}};

constexpr std::array<std::string_view, 6> kNothing = {"off",  "false",   "none",
                                                      "null", "float32", "fp32"};
constexpr std::array<std::string_view, 4> kStored = {"bfloat16", "bf16", "float16", "auto"};

template <class List>
bool contains(const List& list, const std::string& text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

bool asks_nothing(const Node& value, bool published) {
  if (value.kind == Node::Kind::kNull) return true;
  if (value.kind == Node::Kind::kScalar) {
    return contains(kNothing, value.text) || (published && contains(kStored, value.text));
  }
  return std::all_of(value.items.begin(), value.items.end(),
                     [&](const Node& item) { return asks_nothing(item, published); });
}

}  // namespace

std::optional<std::string> unsupported(const std::string& path, const Node& value, bool published) {
  const auto* found = std::find_if(kUnsupported.begin(), kUnsupported.end(),
                                   [&](const auto& entry) { return path == entry.first; });
  if (found == kUnsupported.end()) return std::nullopt;
  if (asks_nothing(value, published)) return "";
  // Packed experts are read; the weights themselves say whether they are.
  if (published && path == "model.expert_dtype" && value.text == "fp4") return "";
  if (value.kind != Node::Kind::kScalar) return found->second;
  return describe(value) + " cannot be honoured: " + found->second;
}

}  // namespace shoal

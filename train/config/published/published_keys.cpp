#include "train/config/published/published_keys.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "layers/config.h"
#include "train/config/schema/values.h"

namespace shoal {
namespace {

constexpr const char* kSparse = "compressed_sparse_attention";
constexpr const char* kHeavy = "heavily_compressed_attention";

Node empty(Node::Kind kind, const Place& place) {
  Node node;
  node.kind = kind;
  node.place = place;
  return node;
}

// The rates that ratios stand for: what compress_rates says, else 4 is sparse and the first other
// number heavy.
struct Rates {
  std::string sparse = "4", heavy;

  explicit Rates(const Node* given) {
    if (given == nullptr) return;
    if (const Node* rate = given->find(kSparse)) sparse = rate->text;
    if (const Node* rate = given->find(kHeavy)) heavy = rate->text;
  }
  // Nothing where the number means no layer, or another heavy rate than the layers before it.
  std::optional<AttentionKind> kind_of(const Node& ratio) {
    if (ratio.kind != Node::Kind::kScalar || ratio.quoted) return std::nullopt;
    if (ratio.text == "0") return AttentionKind::kSliding;
    if (ratio.text == sparse) return AttentionKind::kCompressedSparse;
    const bool number = ratio.text.size() < 10 && ratio.text != "1" && ratio.text[0] != '0' &&
                        std::all_of(ratio.text.begin(), ratio.text.end(),
                                    [](char c) { return c >= '0' && c <= '9'; });
    if (!number) return std::nullopt;
    if (heavy.empty()) heavy = ratio.text;
    return ratio.text == heavy ? std::optional(AttentionKind::kHeavilyCompressed) : std::nullopt;
  }
};

// Does the newer key stand beside the older one? In YAML that is said.
bool is_said_twice(const Node& model, const Place& place, const std::string& old_key,
                   const std::string& new_key, bool strict, Problems& problems) {
  if (model.find(new_key) == nullptr) return false;
  if (strict) {
    problems.add(place, "model." + old_key, "means the same as model.", new_key,
                 ", which is given too; keep one of them");
  }
  return true;
}

std::optional<std::int64_t> layer_count(const Node& model, Problems& problems) {
  const Node* count = model.find("num_hidden_layers");
  if (count == nullptr) return std::nullopt;
  return read_integer(*count, "model.num_hidden_layers", {.low = 1}, problems).value_or(0);
}

// Ratios say the rates, too.
void add_rates(Node& model, const Rates& said, const Place& place) {
  const Node* given = model.find("compress_rates");
  Node rates = given != nullptr ? *given : empty(Node::Kind::kMap, place);
  if (rates.kind != Node::Kind::kMap) return;
  for (const auto& [kind, rate] :
       {std::pair(kSparse, said.sparse), std::pair(kHeavy, said.heavy)}) {
    if (!rate.empty() && rates.find(kind) == nullptr) {
      rates.set({kind, place}, scalar(rate, place, false));
    }
  }
  model.set({"compress_rates", place}, std::move(rates));
}

void read_ratios(Node& model, const Node& ratios, Problems& problems) {
  const Place& place = ratios.place;
  const auto given = static_cast<std::int64_t>(ratios.items.size());
  std::int64_t layers = layer_count(model, problems).value_or(given);
  if (ratios.kind != Node::Kind::kList || given < layers) {
    problems.add(place, "model.compress_ratios", "no list with a number for each of ", layers,
                 " layers; give one");
    problems.doubt("model.layer_types");
    layers = 0;
  }
  Node types = empty(Node::Kind::kList, place);
  Rates rates(model.find("compress_rates"));
  for (std::int64_t l = 0; l < layers; ++l) {
    const Node& ratio = ratios.items[static_cast<std::size_t>(l)];
    if (const auto kind = rates.kind_of(ratio)) {
      types.items.push_back(scalar(name_of(*kind), ratio.place, true));
    } else {
      problems.add(ratio.place, "model.compress_ratios", describe(ratio), " (layer ", l,
                   ") is not known; use 0 for a window layer, ", rates.sparse, " for CSA, ",
                   rates.heavy.empty() ? "128" : rates.heavy, " for HCA");
      problems.doubt("model.layer_types");
    }
  }
  add_rates(model, rates, place);
  model.set({"layer_types", place}, std::move(types));
}

void read_hash_layers(Node& model, const Node& hash, bool strict, Problems& problems) {
  const auto count = read_integer(hash, "model.num_hash_layers", {.low = 0}, problems);
  if (!count) return;
  const Node* types = model.find("layer_types");
  std::int64_t layers = 0;
  if (types != nullptr) {
    layers = static_cast<std::int64_t>(types->items.size());
  } else if (strict) {
    layers = layer_count(model, problems).value_or(0);
    if (layers < 1 || layers > kMaxLayers) {
      problems.add(
          hash.place, "model.num_hash_layers",
          "says nothing without the number of layers; give layer_types, compress_ratios or "
          "num_hidden_layers beside it, or mlp_layer_types instead");
      return;
    }
  } else {
    return;  // a config.json without layers is refused elsewhere
  }
  Node list = empty(Node::Kind::kList, hash.place);
  for (std::int64_t l = 0; l < layers; ++l) {
    const auto kind = l < *count ? FeedForwardKind::kHashMoe : FeedForwardKind::kMoe;
    list.items.push_back(scalar(name_of(kind), hash.place, true));
  }
  model.set({"mlp_layer_types", hash.place}, std::move(list));
}

// Older files have YaRN's settings here, all of them of the compressed layers.
void read_rope_scaling(Node& model, const Node& scaling, Problems& problems) {
  if (scaling.kind != Node::Kind::kMap) {
    problems.add(scaling.place, "model.rope_scaling", "has ", describe(scaling), "; give a map");
    return;
  }
  const Node* both = model.find("rope_parameters");
  Node parameters = both != nullptr ? *both : empty(Node::Kind::kMap, scaling.place);
  if (parameters.kind != Node::Kind::kMap) return;  // said when it is read
  if (parameters.find("compress") != nullptr) {
    problems.add(
        scaling.place, "model.rope_scaling",
        "means the same as model.rope_parameters.compress, which is given too; keep one of "
        "them");
    return;
  }
  Node compress = empty(Node::Kind::kMap, scaling.place);
  for (std::size_t i = 0; i < scaling.keys.size(); ++i) {
    Node::Key key = scaling.keys[i];
    if (key.text == "type") key.text = "rope_type";
    compress.set(key, scaling.items[i]);
  }
  parameters.set({"compress", scaling.place}, std::move(compress));
  model.set({"rope_parameters", scaling.place}, std::move(parameters));
}

std::optional<Node> take(Node& model, const std::string& key) {
  const Node* found = model.find(key);
  if (found == nullptr) return std::nullopt;
  Node taken = *found;
  model.erase(key);
  return taken;
}

}  // namespace

void modernise_layers(Node& model, bool strict, Problems& problems) {
  if (const auto ratios = take(model, "compress_ratios")) {
    if (!is_said_twice(model, ratios->place, "compress_ratios", "layer_types", strict, problems)) {
      read_ratios(model, *ratios, problems);
    }
  }
  if (const auto hash = take(model, "num_hash_layers")) {
    if (!is_said_twice(model, hash->place, "num_hash_layers", "mlp_layer_types", strict,
                       problems)) {
      read_hash_layers(model, *hash, strict, problems);
    }
  }
}

void modernise_yaml_model(Node& root, Problems& problems) {
  Node* model = root.find("model");
  if (model == nullptr || model->kind != Node::Kind::kMap) return;
  modernise_layers(*model, true, problems);
  if (const auto scaling = take(*model, "rope_scaling")) {
    read_rope_scaling(*model, *scaling, problems);
  }
}

}  // namespace shoal

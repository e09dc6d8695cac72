#include "train/config/published/model_json.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "train/config/published/published_keys.h"
#include "train/config/schema/read_keys.h"
#include "train/config/schema/schema.h"

namespace shoal {
namespace {

constexpr int kMostLevels = 16;
constexpr char kPrefix[] = "model.";
// transformers always clamps, so "no clamp" is a limit that nothing reaches.
constexpr double kNoClamp = 1e30;

// Settings that every Shoal model has. A file that says otherwise describes another model.
const std::vector<std::pair<const char*, nlohmann::json>>& fixed_settings() {
  static const std::vector<std::pair<const char*, nlohmann::json>> kFixed = {
      {"model_type", kTransformersModelType},
      {"num_key_value_heads", 1},
      {"hidden_act", "silu"},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"mlp_bias", false},
      {"tie_word_embeddings", false},
      {"topk_method", "noaux_tc"},
      {"router_jitter_noise", 0.0},
  };
  return kFixed;
}

// About the surroundings of a model, not its numbers: ignored without a word.
constexpr const char* kSilent[] = {
    "architectures",
    "chunk_size_feed_forward",
    "dtype",
    "id2label",
    "is_encoder_decoder",
    "label2id",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "output_router_logits",
    "problem_type",
    "return_dict",
    "router_aux_loss_coef",
    "torch_dtype",
    "use_cache",
    "transformers_version",
    "partial_rotary_factor",
    "_name_or_path",
    "rope_parameters.main.partial_rotary_factor",
    "max_sequence_length",
    "rope_parameters.compress.partial_rotary_factor",
};

// Without these a file does not say which model it is.
constexpr const char* kRequired[] = {
    "vocab_size",          "hidden_size",           "layer_types",
    "mlp_layer_types",     "num_attention_heads",   "head_dim",
    "qk_rope_head_dim",    "q_lora_rank",           "o_groups",
    "o_lora_rank",         "sliding_window",        "n_routed_experts",
    "num_experts_per_tok", "moe_intermediate_size",
};

class ModelReader {
 public:
  explicit ModelReader(const std::string& where)
      : place_{std::make_shared<const Source>(Source{where, 0, false}), 0, 0} {}

  ModelConfig read(const nlohmann::json& json, std::vector<std::string>* warnings) {
    if (!json.is_object()) {
      problems_.add(place_, "", "not a JSON object; a config.json is one");
      problems_.throw_if_any(Failure::kData);
    }
    check_fixed(json);
    Node root = map();
    Node& model = root.set({"model", place_}, convert(json, 0));
    problems_.throw_if_any(Failure::kData);
    for (const auto& setting : fixed_settings()) model.erase(setting.first);
    modernise_layers(model, false, problems_);
    modernise_rope(model);
    require_sizes(model);

    RunConfig config;
    Origins origins;
    std::vector<std::string> unknown;
    read_keys(root, config, origins, problems_, &unknown);
    problems_.throw_if_any(Failure::kData);
    if (config.model.swiglu_limit >= kNoClamp) config.model.swiglu_limit = 0.0;
    warn(unknown, warnings);
    return config.model;
  }

 private:
  Node map() const {
    Node node;
    node.kind = Node::Kind::kMap;
    node.place = place_;
    return node;
  }

  template <class... Detail>
  void say(const std::string& name, const Detail&... what) {
    problems_.add(place_, kPrefix + name, what...);
  }

  // null means "not given" there.
  Node convert(const nlohmann::json& json, int depth) {
    if (depth > kMostLevels) {
      problems_.add(place_, "", "nested deeper than ", kMostLevels,
                    " levels; a config.json is flat");
      return {};
    }
    if (json.is_object()) {
      Node node = map();
      for (const auto& [name, value] : json.items()) {
        if (value.is_null()) continue;
        node.keys.push_back({name, place_});
        node.items.push_back(convert(value, depth + 1));
      }
      return node;
    }
    if (json.is_array()) {
      Node node;
      node.kind = Node::Kind::kList;
      node.place = place_;
      for (const auto& item : json) node.items.push_back(convert(item, depth + 1));
      return node;
    }
    if (json.is_string()) return scalar(json.get<std::string>(), place_, true);
    if (json.is_null() || json.is_binary()) return {};
    return scalar(json.dump(), place_, false);
  }

  void check_fixed(const nlohmann::json& json) {
    for (const auto& [name, want] : fixed_settings()) {
      const auto got = json.find(name);
      if (got == json.end() || got->is_null() || *got == want) continue;
      if (*got == kOwnModelType && want == kTransformersModelType) continue;
      say(name, text_of(*got), " is not supported; only ", want.dump(), " is");
    }
  }

  // Invalid UTF-8 cannot be printed as JSON, and may stand in JSON made by a program.
  static std::string text_of(const nlohmann::json& json) {
    return excerpt(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }

  static const Node* ratio_of_kind(const Node& model, const std::string& kind) {
    const Node* rates = model.find("compress_rates");
    return rates != nullptr ? rates->find(kind) : nullptr;
  }

  // Flat settings first, then what rope_parameters says; older files have the flat ones only,
  // with YaRN's in rope_scaling.
  void modernise_rope(Node& model) {
    Node given = map();
    for (const char* name : {"rope_parameters", "rope_scaling"}) {
      if (const Node* found = model.find(name)) {
        if (found->kind == Node::Kind::kMap) {
          given = *found;
        } else {
          say(name, "has ", describe(*found), "; give an object");
        }
        break;
      }
    }
    model.erase("rope_parameters");
    model.erase("rope_scaling");
    Node main = map(), compress = map();
    move_key(model, "rope_theta", main);
    move_key(model, "compress_rope_theta", compress, "rope_theta");
    if (given.find("main") != nullptr || given.find("compress") != nullptr) {
      overlay(given, "main", main);
      overlay(given, "compress", compress);
    } else {
      merge(compress, std::move(given));
    }
    tidy_rope(main, "main");
    tidy_rope(compress, "compress");
    rope_width(model, compress.find("partial_rotary_factor") != nullptr ? compress : main);
    Node both = map();
    both.set({"main", place_}, std::move(main));
    both.set({"compress", place_}, std::move(compress));
    model.set({"rope_parameters", place_}, std::move(both));
  }

  void move_key(Node& from, const std::string& name, Node& to, const std::string& as = "") const {
    const Node* found = from.find(name);
    if (found == nullptr) return;
    to.set({as.empty() ? name : as, place_}, *found);
    from.erase(name);
  }

  void overlay(Node& given, const std::string& name, Node& onto) {
    Node* part = given.find(name);
    if (part == nullptr) return;
    if (part->kind == Node::Kind::kMap) {
      merge(onto, std::move(*part));
    } else {
      say("rope_parameters." + name, "has ", describe(*part), "; give an object");
    }
  }

  void tidy_rope(Node& rope, const std::string& name) {
    const std::string key = "rope_parameters." + name;
    move_key(rope, "type", rope, "rope_type");
    // V4 does not scale cosine and sine, whatever YaRN says elsewhere.
    for (const char* scale : {"attention_factor", "mscale", "mscale_all_dim"}) {
      if (const Node* found = rope.find(scale)) {
        const auto value = read_number(*found, kPrefix + key + "." + scale, {}, problems_);
        if (value && *value != 1.0) {
          say(key + "." + scale, number_text(*value), " is not supported; only 1 is");
        }
        rope.erase(scale);
      }
    }
  }

  // qk_rope_head_dim, or the share of head_dim that newer files give.
  void rope_width(Node& model, const Node& rope) {
    const Node* share = model.find("partial_rotary_factor");
    if (share == nullptr) share = rope.find("partial_rotary_factor");
    const Node* head_dim = model.find("head_dim");
    if (share == nullptr || head_dim == nullptr) return;
    const auto factor = read_number(*share, "model.partial_rotary_factor",
                                    {.low = 0, .high = 1, .low_open = true}, problems_);
    const Bounds sizes{.low = 1, .high = static_cast<double>(kMaxSize)};
    const auto width = read_integer(*head_dim, "model.head_dim", sizes, problems_);
    if (!factor || !width) return;
    const auto derived = static_cast<std::int64_t>(std::llround(*factor * double(*width)));
    const Node* given = model.find("qk_rope_head_dim");
    if (given == nullptr) {
      model.set({"qk_rope_head_dim", place_}, scalar(std::to_string(derived), place_, false));
    } else if (given->text != std::to_string(derived)) {
      say("qk_rope_head_dim", describe(*given), " contradicts ",
          "partial_rotary_factor, which makes it ", derived, "; keep one of them");
    }
  }

  void require_sizes(const Node& model) {
    for (const char* name : kRequired) {
      if (model.find(name) == nullptr && !problems_.touches(std::string(kPrefix) + name)) {
        say(name, "missing; a model of unknown size cannot be read");
      }
    }
    const Node* types = model.find("layer_types");
    if (types == nullptr) return;
    const auto has = [&](AttentionKind kind) {
      return std::any_of(types->items.begin(), types->items.end(),
                         [&](const Node& type) { return type.text == name_of(kind); });
    };
    const auto require = [&](const std::string& name, const Node* found) {
      if (found == nullptr) say(name, "missing, and layer_types needs it");
    };
    for (const AttentionKind kind :
         {AttentionKind::kCompressedSparse, AttentionKind::kHeavilyCompressed}) {
      if (has(kind)) {
        require(std::string("compress_rates.") + name_of(kind),
                ratio_of_kind(model, name_of(kind)));
      }
    }
    if (!has(AttentionKind::kCompressedSparse)) return;
    for (const char* name : {"index_n_heads", "index_head_dim", "index_topk"}) {
      require(name, model.find(name));
    }
  }

  static void warn(const std::vector<std::string>& unknown, std::vector<std::string>* warnings) {
    std::string names;
    for (const std::string& path : unknown) {
      const std::string name = path.substr(sizeof(kPrefix) - 1);
      if (std::find(std::begin(kSilent), std::end(kSilent), name) != std::end(kSilent)) continue;
      names += (names.empty() ? "" : ", ") + excerpt(name);
    }
    if (names.empty() || warnings == nullptr) return;
    warnings->push_back("ignored keys that are not known here: " + names);
  }

  Place place_;
  Problems problems_{kPrefix};
};

// Keys that only Shoal has, or that another program would misread.
bool is_ours(const std::string& name) {
  return name == "residual" || name == "intermediate_size" || name.compare(0, 5, "init.") == 0 ||
         name.compare(0, 4, "fp4.") == 0 || name.compare(0, 4, "fp8.") == 0;
}

// Its modules have one kind of residual and of expert layer, always divide by the scores' sum, and
// round nothing.
bool transformers_computes(const ModelConfig& m) {
  const auto has = [](const auto& kinds, auto kind) {
    return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
  };
  return m.residual == ResidualKind::kManifold && !has(m.layer_types, AttentionKind::kFull) &&
         !has(m.mlp_layer_types, FeedForwardKind::kDense) && m.n_shared_experts == 1 &&
         m.fp4 == Fp4Config{} && m.fp8_kv == Quantization::kOff && m.norm_topk_prob &&
         m.scoring_func != RouterScore::kSoftmax;
}

void put(nlohmann::json& json, const std::string& path, nlohmann::json value) {
  const std::size_t dot = path.find('.');
  if (dot == std::string::npos) {
    json[path] = std::move(value);
  } else {
    put(json[path.substr(0, dot)], path.substr(dot + 1), std::move(value));
  }
}

}  // namespace

ModelConfig model_from_json(const nlohmann::json& json, const std::string& where,
                            std::vector<std::string>* warnings) {
  std::vector<std::string> found;
  ModelConfig model = ModelReader(where).read(json, &found);
  if (warnings != nullptr) {
    for (const std::string& warning : found) warnings->push_back(where + ": " + warning);
  }
  // YaRN's numbers mean nothing without YaRN, and are not written back.
  for (RopeConfig* rope : {&model.rope_main, &model.rope_compress}) {
    if (!rope->yarn) *rope = RopeConfig{.theta = rope->theta};
  }
  return model;
}

nlohmann::json model_to_json(const ModelConfig& model) {
  CHECK(model.num_hidden_layers > 0 && model.head_dim > 0, "model_to_json: finish() comes first");
  RunConfig config, defaults;
  config.model = model;
  const bool has_dense = std::find(model.mlp_layer_types.begin(), model.mlp_layer_types.end(),
                                   FeedForwardKind::kDense) != model.mlp_layer_types.end();
  nlohmann::json json;
  for (const Key& key : schema()) {
    if (key.section() != "model") continue;
    const std::string name = key.path.substr(sizeof(kPrefix) - 1);
    const nlohmann::json value = key.value(config);
    if (is_ours(name)) {
      // intermediate_size is another name of moe_intermediate_size to transformers.
      const bool needed = name == "intermediate_size" ? has_dense : value != key.value(defaults);
      if (!needed) continue;
    }
    put(json, name, value);
  }
  for (const auto& [name, value] : fixed_settings()) json[name] = value;
  json.erase("topk_method");
  const bool common = transformers_computes(model);
  json["model_type"] = common ? kTransformersModelType : kOwnModelType;
  json["architectures"] = {common ? "DeepseekV4ForCausalLM" : "ShoalForCausalLM"};
  json["use_cache"] = false;
  if (model.swiglu_limit == 0.0) json["swiglu_limit"] = kNoClamp;

  const double share =
      static_cast<double>(model.qk_rope_head_dim) / static_cast<double>(model.head_dim);
  json["partial_rotary_factor"] = share;
  json["rope_theta"] = model.rope_main.theta;
  json["compress_rope_theta"] = model.rope_compress.theta;
  for (const char* which : {"main", "compress"}) {
    nlohmann::json& rope = json["rope_parameters"][which];
    rope["partial_rotary_factor"] = share;
    if (rope["rope_type"] == "yarn") {
      rope["attention_factor"] = 1.0;
    } else {
      for (const char* name :
           {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow"}) {
        rope.erase(name);
      }
    }
  }
  return json;
}

}  // namespace shoal

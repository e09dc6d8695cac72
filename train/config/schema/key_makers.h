#pragma once
#include <algorithm>
#include <cstddef>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "train/config/schema/layer_list.h"
#include "train/config/schema/schema.h"

// How the table of schema.cpp makes its keys: one function per form of value. Only for the files
// that list keys.
namespace shoal {
std::vector<Key> model_keys();  // schema_model.cpp
}

namespace shoal::key_makers {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr Bounds kAny{};
inline constexpr Bounds kPositive{.low = 0, .high = kInfinity, .low_open = true};
inline constexpr Bounds kNotNegative{.low = 0};
inline constexpr Bounds kShare{.low = 0, .high = 1};
inline constexpr Bounds kBelowOne{.low = 0, .high = 1, .high_open = true};
// Of what decays by a factor in every step: 1 in single precision would keep all of it for ever.
inline constexpr Bounds kDecay{.low = 0, .high = 0.9999999};
inline constexpr Bounds kSize{.low = 1, .high = static_cast<double>(kMaxSize)};
inline constexpr Bounds kLag{.low = 0, .high = 1e6};
inline constexpr Bounds kSizeOrZero{.low = 0, .high = static_cast<double>(kMaxSize)};

// Names of an enum's values in order. kAll: what is understood; `choices` of the key lists what
// works.
template <class Enum>
struct Names;
template <>
struct Names<AttentionKind> {
  static constexpr AttentionKind kAll[] = {AttentionKind::kSliding,
                                           AttentionKind::kCompressedSparse,
                                           AttentionKind::kHeavilyCompressed, AttentionKind::kFull};
  static bool works(AttentionKind) { return true; }
};
template <>
struct Names<FeedForwardKind> {
  static constexpr FeedForwardKind kAll[] = {FeedForwardKind::kMoe, FeedForwardKind::kHashMoe,
                                             FeedForwardKind::kDense};
  static bool works(FeedForwardKind) { return true; }
};
template <>
struct Names<ResidualKind> {
  static constexpr ResidualKind kAll[] = {ResidualKind::kManifold, ResidualKind::kHyper,
                                          ResidualKind::kPlain};
  static bool works(ResidualKind) { return true; }
};
template <>
struct Names<RouterScore> {
  static constexpr RouterScore kAll[] = {RouterScore::kSqrtSoftplus, RouterScore::kSigmoid,
                                         RouterScore::kSoftmax};
  static bool works(RouterScore) { return true; }
};
template <>
struct Names<IndexerMode> {
  static constexpr IndexerMode kAll[] = {IndexerMode::kDense, IndexerMode::kWarmup,
                                         IndexerMode::kSparse};
  static bool works(IndexerMode) { return true; }
};
template <>
struct Names<Quantization> {
  static constexpr Quantization kAll[] = {Quantization::kOff, Quantization::kQat,
                                          Quantization::kPtq};
  static bool works(Quantization) { return true; }
};
template <>
struct Names<RecomputePolicy> {
  static constexpr RecomputePolicy kAll[] = {RecomputePolicy::kNone, RecomputePolicy::kBlock};
  static bool works(RecomputePolicy) { return true; }
};
template <>
struct Names<MatrixOptimizer> {
  static constexpr MatrixOptimizer kAll[] = {MatrixOptimizer::kMuon, MatrixOptimizer::kAdamw};
  static bool works(MatrixOptimizer) { return true; }
};
template <>
struct Names<BadNumbers> {
  static constexpr BadNumbers kAll[] = {BadNumbers::kStop, BadNumbers::kSkip,
                                        BadNumbers::kRollback};
  static bool works(BadNumbers) { return true; }
};
template <>
struct Names<AnticipatoryMode> {
  static constexpr AnticipatoryMode kAll[] = {AnticipatoryMode::kOff, AnticipatoryMode::kOnSpike,
                                              AnticipatoryMode::kAlways};
  static bool works(AnticipatoryMode) { return true; }
};
template <>
struct Names<RoutingDrain> {
  static constexpr RoutingDrain kAll[] = {RoutingDrain::kFresh, RoutingDrain::kReplay};
  static bool works(RoutingDrain) { return true; }
};
template <>
struct Names<SpikeAction> {
  static constexpr SpikeAction kAll[] = {SpikeAction::kOff, SpikeAction::kReport,
                                         SpikeAction::kSkip, SpikeAction::kRollback};
  static bool works(SpikeAction) { return true; }
};
template <>
struct Names<FaultKind> {
  static constexpr FaultKind kAll[] = {FaultKind::kLrPulse, FaultKind::kBadBatch,
                                       FaultKind::kExpertShock};
  static bool works(FaultKind) { return true; }
};

inline const char* name_of(RecomputePolicy kind) {
  return kind == RecomputePolicy::kNone ? "none" : "block";
}
inline const char* name_of(MatrixOptimizer kind) {
  return kind == MatrixOptimizer::kMuon ? "muon" : "adamw";
}
inline const char* name_of(AnticipatoryMode mode) {
  return mode == AnticipatoryMode::kOff       ? "off"
         : mode == AnticipatoryMode::kOnSpike ? "on_spike"
                                              : "always";
}
inline const char* name_of(RoutingDrain drain) {
  return drain == RoutingDrain::kFresh ? "fresh" : "replay";
}

template <class Enum>
std::vector<std::string> names_of_all() {
  std::vector<std::string> names;
  for (const Enum value : Names<Enum>::kAll) names.emplace_back(name_of(value));
  return names;
}

// The names that work first, so that they are what an error offers.
template <class Enum>
std::vector<std::string> names_that_work() {
  std::vector<std::string> names;
  for (const Enum value : Names<Enum>::kAll) {
    if (Names<Enum>::works(value)) names.emplace_back(name_of(value));
  }
  return names;
}

template <class Enum>
std::optional<Enum> read_enum(const Node& node, const std::string& key, Problems& problems) {
  // A name that is known but does not work yet is read: ModelConfig::complete says so better.
  const std::vector<std::string> all = names_of_all<Enum>();
  const auto known = std::find(all.begin(), all.end(), node.text);
  const std::vector<std::string> offered = names_that_work<Enum>();
  if (node.kind == Node::Kind::kScalar && known != all.end()) {
    return Names<Enum>::kAll[known - all.begin()];
  }
  const auto chosen = read_choice(node, key, offered, problems);
  return chosen ? std::optional(Names<Enum>::kAll[*chosen]) : std::nullopt;
}

// `at` names the field: SHOAL_FIELD(optim.lr).
template <class At>
const auto& value_at(const RunConfig& c, At at) {
  return at(const_cast<RunConfig&>(c));
}

template <class At>
Key integer(const std::string& path, At at, const Bounds& range, std::string unit,
            std::string help) {
  Key key{.path = path,
          .form = Form::kInteger,
          .range = range,
          .unit = std::move(unit),
          .help = std::move(help)};
  key.read = [at, range, path](const Node& node, RunConfig& c, Problems& problems) {
    if (const auto value = read_integer(node, path, range, problems)) at(c) = *value;
  };
  key.value = [at](const RunConfig& c) { return nlohmann::json(value_at(c, at)); };
  return key;
}

template <class At>
Key number(const std::string& path, At at, const Bounds& range, std::string unit,
           std::string help) {
  Key key{.path = path,
          .form = Form::kNumber,
          .range = range,
          .unit = std::move(unit),
          .help = std::move(help)};
  key.read = [at, range, path](const Node& node, RunConfig& c, Problems& problems) {
    if (const auto value = read_number(node, path, range, problems)) at(c) = *value;
  };
  key.value = [at](const RunConfig& c) { return nlohmann::json(value_at(c, at)); };
  return key;
}

template <class At>
Key boolean(const std::string& path, At at, std::string help) {
  Key key{.path = path, .form = Form::kBool, .help = std::move(help)};
  key.read = [at, path](const Node& node, RunConfig& c, Problems& problems) {
    if (const auto value = read_bool(node, path, problems)) at(c) = *value;
  };
  key.value = [at](const RunConfig& c) { return nlohmann::json(value_at(c, at)); };
  return key;
}

template <class At>
Key text(const std::string& path, At at, std::string help) {
  Key key{.path = path, .form = Form::kText, .help = std::move(help)};
  key.read = [at, path](const Node& node, RunConfig& c, Problems& problems) {
    if (const auto value = read_text(node, path, problems)) at(c) = *value;
  };
  key.value = [at](const RunConfig& c) { return nlohmann::json(value_at(c, at)); };
  return key;
}

// `word` stands for no path at all ("bytes", or nothing) and is kept as it is.
template <class At>
Key path_or(const std::string& path, const std::string& word, At at, std::string help) {
  Key key{.path = path, .form = Form::kPath, .help = std::move(help)};
  key.read = [at, path, word](const Node& node, RunConfig& c, Problems& problems) {
    if (node.kind == Node::Kind::kScalar && node.text == word) {
      at(c) = word;
    } else if (const auto value = read_path(node, path, problems)) {
      at(c) = *value;
    }
  };
  key.value = [at](const RunConfig& c) { return nlohmann::json(value_at(c, at)); };
  return key;
}

template <class At>
Key choice(const std::string& path, At at, const std::string& help) {
  using Enum = std::decay_t<decltype(at(std::declval<RunConfig&>()))>;
  Key key{.path = path, .form = Form::kChoice, .choices = names_that_work<Enum>(), .help = help};
  key.read = [at, path](const Node& node, RunConfig& c, Problems& problems) {
    if (const auto value = read_enum<Enum>(node, path, problems)) at(c) = *value;
  };
  key.value = [at](const RunConfig& c) { return nlohmann::json(name_of(value_at(c, at))); };
  return key;
}

// Short names of layers, as papers have them, beside a config.json's.
template <class Enum>
std::vector<std::pair<std::string, Enum>> layer_names() {
  std::vector<std::pair<std::string, Enum>> names;
  if constexpr (std::is_same_v<Enum, AttentionKind>) {
    names = {{"window", AttentionKind::kSliding},
             {"csa", AttentionKind::kCompressedSparse},
             {"hca", AttentionKind::kHeavilyCompressed},
             {"full", AttentionKind::kFull}};
  }
  for (const Enum value : Names<Enum>::kAll) names.emplace_back(name_of(value), value);
  return names;
}

// A list with one value for each layer; see layer_list.h.
template <class At>
Key layers(const std::string& path, At at, const std::string& help) {
  using List = std::decay_t<decltype(at(std::declval<RunConfig&>()))>;
  using Enum = typename List::value_type;
  Key key{.path = path, .form = Form::kLayers, .help = help};
  for (const auto& [name, value] : layer_names<Enum>()) key.choices.push_back(name);
  key.read = [at, path, names = key.choices](const Node& node, RunConfig& c, Problems& problems) {
    const auto read = read_layer_list(node, path, static_cast<std::size_t>(kMaxLayers), problems);
    if (!read) return;
    std::vector<Enum> values;
    for (const Node& name : read->names) {
      const auto chosen = read_choice(name, path, names, problems);
      if (chosen) values.push_back(layer_names<Enum>()[*chosen].second);
    }
    if (values.size() != read->names.size()) return;
    List list;
    for (const std::size_t i : read->order) list.push_back(values[i]);
    at(c) = std::move(list);
  };
  key.value = [at](const RunConfig& c) {
    nlohmann::json list = nlohmann::json::array();
    for (const Enum value : value_at(c, at)) list.push_back(name_of(value));
    return list;
  };
  return key;
}

inline Key texts(const std::string& path, std::vector<std::string>& (*at)(RunConfig&),
                 std::string help) {
  Key key{.path = path, .form = Form::kTexts, .help = std::move(help)};
  key.read = [at, path](const Node& node, RunConfig& c, Problems& problems) {
    if (auto value = read_texts(node, path, problems)) at(c) = std::move(*value);
  };
  key.value = [at](const RunConfig& c) { return nlohmann::json(value_at(c, at)); };
  return key;
}

inline Key harmless(Key key) {
  key.changes_numbers = false;
  return key;
}

// Names a field of RunConfig: a plain pointer, so that keys of one type share their code.
#define SHOAL_FIELD(member)     \
  +[](RunConfig & c) -> auto& { \
    return c.member;            \
  }

}  // namespace shoal::key_makers

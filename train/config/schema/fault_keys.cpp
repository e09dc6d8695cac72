#include "train/config/schema/fault_keys.h"

#include "train/config/document/suggest.h"
#include "train/config/schema/key_makers.h"
#include "train/config/schema/values.h"

namespace shoal {
namespace {

constexpr Bounds kFaultSteps{.low = 1, .high = static_cast<double>(kMaxSize)};
constexpr Bounds kFactor{.low = 0, .high = 1e30};

bool lasts(FaultKind kind) { return kind != FaultKind::kExpertShock; }
bool multiplies(FaultKind kind) { return kind != FaultKind::kBadBatch; }

// False: not read, and said why.
bool read_fault_member(const std::string& name, const Node& node, const std::string& key,
                       FaultSpec& fault, Problems& problems) {
  if (name == "kind") return true;  // is known by then
  if (name == "factor") {
    const auto value = read_number(node, key, kFactor, problems);
    if (value) fault.factor = *value;
    return value.has_value();
  }
  const auto value = read_integer(node, key, kFaultSteps, problems);
  if (value) (name == "steps" ? fault.steps : fault.at_step) = *value;
  return value.has_value();
}

std::optional<FaultSpec> read_fault(const Node& node, const std::string& key, Problems& problems) {
  const bool map = node.kind == Node::Kind::kMap;
  if (!map || node.find("kind") == nullptr || node.find("at_step") == nullptr) {
    problems.add(node.place, key,
                 "an entry needs kind and at_step, such as {kind: lr_pulse, at_step: 300, steps: "
                 "5, factor: 20}");
    return std::nullopt;
  }
  const auto kind = key_makers::read_enum<FaultKind>(*node.find("kind"), key + ".kind", problems);
  if (!kind) return std::nullopt;
  FaultSpec fault;
  fault.kind = *kind;
  if (!multiplies(fault.kind)) fault.factor = 1.0;
  const std::vector<std::string> known = {"kind", "at_step", "steps", "factor"};
  bool good = true;
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      const auto meant = suggest(name, known);
      problems.add(
          node.keys[i].place, key + "." + name, "unknown key; ",
          meant ? "did you mean '" + *meant + "'?" : "known here: kind, at_step, steps, factor");
      good = false;
    } else {
      good = read_fault_member(name, node.items[i], key + "." + name, fault, problems) && good;
    }
  }
  if (!good) return std::nullopt;
  const bool steps_mean_nothing = !lasts(fault.kind) && fault.steps != 1;
  if (steps_mean_nothing || (!multiplies(fault.kind) && fault.factor != 1.0)) {
    problems.add(node.place, key, steps_mean_nothing ? "steps" : "factor", " means nothing to ",
                 name_of(fault.kind), "; leave it out");
    return std::nullopt;
  }
  return fault;
}

}  // namespace

std::optional<std::vector<FaultSpec>> read_faults(const Node& node, const std::string& key,
                                                  Problems& problems) {
  if (node.kind != Node::Kind::kList) {
    problems.add(node.place, key, "has ", describe(node),
                 "; give a list, such as [{kind: bad_batch, at_step: 300}]");
    return std::nullopt;
  }
  std::vector<FaultSpec> faults;
  for (const Node& item : node.items) {
    const auto fault = read_fault(item, key, problems);
    if (!fault) return std::nullopt;
    faults.push_back(*fault);
  }
  return faults;
}

nlohmann::json faults_json(const std::vector<FaultSpec>& faults) {
  nlohmann::json list = nlohmann::json::array();
  for (const FaultSpec& fault : faults) {
    nlohmann::json entry = {{"kind", name_of(fault.kind)}, {"at_step", fault.at_step}};
    if (lasts(fault.kind)) entry["steps"] = fault.steps;
    if (multiplies(fault.kind)) entry["factor"] = fault.factor;
    list.push_back(std::move(entry));
  }
  return list;
}

nlohmann::ordered_json faults_schema() {
  using nlohmann::ordered_json;
  const ordered_json steps = {{"type", "integer"}, {"minimum", 1}};
  ordered_json entry = {{"type", "object"},
                        {"properties",
                         {{"kind", {{"enum", key_makers::names_of_all<FaultKind>()}}},
                          {"at_step", steps},
                          {"steps", steps},
                          {"factor", {{"type", "number"}, {"minimum", 0}, {"maximum", 1e30}}}}},
                        {"required", {"kind", "at_step"}},
                        {"additionalProperties", false}};
  return {{"type", "array"}, {"items", std::move(entry)}};
}

}  // namespace shoal

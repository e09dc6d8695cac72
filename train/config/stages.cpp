#include "train/config/stages.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "optim/schedule.h"
#include "train/config/document/suggest.h"
#include "train/config/schema/values.h"

namespace shoal {
namespace {

struct Member {
  const char* name;
  std::int64_t StageSpec::*field;
};
constexpr std::array<Member, 4> kMembers = {{{"from_step", &StageSpec::from_step},
                                             {"sequence_length", &StageSpec::sequence_length},
                                             {"batch_tokens", &StageSpec::batch_tokens},
                                             {"micro_batch", &StageSpec::micro_batch}}};

std::optional<StageSpec> read_stage(const Node& node, const std::string& key, Problems& problems) {
  if (node.kind != Node::Kind::kMap || node.find("from_step") == nullptr) {
    problems.add(node.place, key,
                 "an entry needs from_step, such as {from_step: 100, sequence_length: 2048}");
    return std::nullopt;
  }
  StageSpec stage;
  bool good = true;
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    const auto member = std::find_if(kMembers.begin(), kMembers.end(),
                                     [&](const Member& m) { return name == m.name; });
    if (member == kMembers.end()) {
      std::vector<std::string> names;
      names.reserve(std::size(kMembers));
      for (const Member& m : kMembers) names.emplace_back(m.name);
      const auto meant = suggest(name, names);
      problems.add(node.keys[i].place, key + "." + name, "unknown key; ",
                   meant ? "did you mean '" + *meant + "'?"
                         : "known here: from_step, sequence_length, batch_tokens, micro_batch");
      good = false;
      continue;
    }
    const double low = member->field == &StageSpec::from_step ? 0 : 1;
    const auto value = read_integer(node.items[i], key + "." + name,
                                    {.low = low, .high = static_cast<double>(kMaxSize)}, problems);
    good = good && value;
    if (value) stage.*member->field = *value;
  }
  return good ? std::optional(stage) : std::nullopt;
}

}  // namespace

std::vector<Stage> stages_of(const RunConfig& config) {
  std::vector<Stage> stages = {
      {0, config.data.sequence_length, config.train.batch_tokens, config.train.micro_batch}};
  for (const StageSpec& spec : config.train.stages) {
    Stage next = stages.back();
    next.from_step = spec.from_step;
    if (spec.sequence_length > 0) next.sequence_length = spec.sequence_length;
    if (spec.batch_tokens > 0) next.batch_tokens = spec.batch_tokens;
    if (spec.micro_batch > 0) next.micro_batch = spec.micro_batch;
    if (next.from_step == 0) stages.pop_back();  // nothing comes before it
    stages.push_back(next);
  }
  return stages;
}

std::size_t stage_at(std::span<const Stage> stages, std::int64_t step) {
  std::size_t at = 0;
  while (at + 1 < stages.size() && stages[at + 1].from_step <= step) ++at;
  return at;
}

RunConfig config_at(const RunConfig& config, const Stage& stage) {
  RunConfig one = config;
  one.train.stages.clear();
  one.data.sequence_length = stage.sequence_length;
  one.train.batch_tokens = stage.batch_tokens;
  one.train.micro_batch = stage.micro_batch;
  return one;
}

std::int64_t planned_steps(const RunConfig& config) {
  const std::vector<Stage> stages = stages_of(config);
  double tokens = config.train.tokens;
  for (std::size_t i = 0; i < stages.size() && config.train.tokens > 0.0; ++i) {
    const Stage& stage = stages[i];
    const std::int64_t steps = planned_steps(0, tokens, stage.batch_tokens);
    const bool last = i + 1 == stages.size();
    if (last || steps <= stages[i + 1].from_step - stage.from_step) {
      if (steps == 0) break;  // as good as no limit
      const std::int64_t total = stage.from_step + steps;
      return config.train.steps == 0 ? total : std::min(config.train.steps, total);
    }
    tokens -= static_cast<double>(stages[i + 1].from_step - stage.from_step) *
              static_cast<double>(stage.batch_tokens);
  }
  return config.train.steps;
}

std::optional<std::vector<StageSpec>> read_stages(const Node& node, const std::string& key,
                                                  Problems& problems) {
  if (node.kind != Node::Kind::kList) {
    problems.add(node.place, key, "has ", describe(node),
                 "; give a list, such as [{from_step: 100, sequence_length: 2048}]");
    return std::nullopt;
  }
  std::vector<StageSpec> stages;
  for (const Node& item : node.items) {
    const auto stage = read_stage(item, key, problems);
    if (!stage) return std::nullopt;
    if (!stages.empty() && stage->from_step <= stages.back().from_step) {
      problems.add(item.place, key, "from_step ", stage->from_step, " follows from_step ",
                   stages.back().from_step, "; give them in rising order");
      return std::nullopt;
    }
    stages.push_back(*stage);
  }
  return stages;
}

nlohmann::json stages_json(const std::vector<StageSpec>& stages) {
  nlohmann::json list = nlohmann::json::array();
  for (const StageSpec& stage : stages) {
    nlohmann::json entry = {{"from_step", stage.from_step}};
    for (const Member& m : kMembers) {
      if (stage.*m.field > 0) entry[m.name] = stage.*m.field;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace shoal

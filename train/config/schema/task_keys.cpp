#include "train/config/schema/task_keys.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "train/config/document/suggest.h"
#include "train/config/schema/values.h"

namespace shoal {
namespace {

using nlohmann::ordered_json;

constexpr std::array kKinds = {TaskKind::kNeedle, TaskKind::kMqar, TaskKind::kCopy};
const std::vector<std::string> kLossOn = {"all", "answer"};
constexpr std::int64_t kMost = 1000000;  // of anything: products stay far below 2^63

struct TaskKey {
  const char* name;
  std::int64_t TaskConfig::*field;
  std::int64_t low, high;
  std::vector<TaskKind> tasks;
  const char* help;
};

const std::vector<TaskKey>& numbers() {
  using enum TaskKind;
  static const std::vector<TaskKey> kKeys = {
      {"pairs", &TaskConfig::pairs, 1, kMost, {kNeedle, kMqar}, "of key and value; keys differ"},
      {"queries", &TaskConfig::queries, 0, kMost, {kMqar}, "keys asked for at the end; 0: all"},
      {"key_length", &TaskConfig::key_length, 1, kMaxKeyLength, {kNeedle, kMqar}, "letters A-Z"},
      {"value_length", &TaskConfig::value_length, 1, kMost, {kNeedle, kMqar}, "digits 0-9"},
      {"min_distance",
       &TaskConfig::min_distance,
       0,
       kMaxSize,
       {kNeedle},
       "tokens between a pair and the query, at least"},
      {"max_distance",
       &TaskConfig::max_distance,
       0,
       kMaxSize,
       {kNeedle},
       "and at most; 0: what the sequence allows"},
      {"length",
       &TaskConfig::length,
       0,
       kMaxSize,
       {kCopy},
       "letters A-Z of the string; 0: what the sequence allows"},
      {"episodes",
       &TaskConfig::episodes,
       1,
       kMost,
       {kNeedle, kMqar, kCopy},
       "held-out episodes to validate on"},
  };
  return kKeys;
}

constexpr const char* kHaystackHelp = "text file that the filler comes from; by default letters";
constexpr const char* kLossOnHelp = "answer: the cross-entropy counts the answers alone";

bool knows(const TaskKey& key, TaskKind kind) {
  return std::find(key.tasks.begin(), key.tasks.end(), kind) != key.tasks.end();
}

bool has_haystack(TaskKind kind) { return kind != TaskKind::kCopy; }

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  names.reserve(std::size(kKinds));
  for (const TaskKind kind : kKinds) names.emplace_back(name_of(kind));
  return names;
}

std::vector<std::string> names_of(TaskKind kind) {
  std::vector<std::string> names = {"task"};
  for (const TaskKey& key : numbers()) {
    if (knows(key, kind)) names.emplace_back(key.name);
  }
  if (has_haystack(kind)) names.emplace_back("haystack");
  names.emplace_back("loss_on");
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

// False: not read, and said why.
bool read_member(const std::string& name, const Node& node, const std::string& key,
                 TaskConfig& task, Problems& problems) {
  if (name == "task") return true;
  if (name == "haystack") {
    const auto path = read_path(node, key, problems);
    if (path) task.haystack = *path;
    return path.has_value();
  }
  if (name == "loss_on") {
    const auto chosen = read_choice(node, key, kLossOn, problems);
    if (chosen) task.loss_on_answer = *chosen == 1;
    return chosen.has_value();
  }
  for (const TaskKey& number : numbers()) {
    if (name != number.name) continue;
    const Bounds range{.low = static_cast<double>(number.low),
                       .high = static_cast<double>(number.high)};
    const auto value = read_integer(node, key, range, problems);
    if (value) task.*number.field = *value;
    return value.has_value();
  }
  return false;
}

}  // namespace

std::optional<TaskConfig> read_task(const Node& map, const std::string& key, Problems& problems) {
  const auto kind = read_choice(*map.find("task"), key + ".task", task_names(), problems);
  if (!kind) return std::nullopt;
  TaskConfig task = default_task(kKinds[*kind]);
  const std::vector<std::string> known = names_of(task.kind);
  bool good = true;
  for (std::size_t i = 0; i < map.keys.size(); ++i) {
    const std::string& name = map.keys[i].text;
    const std::string path = key + "." + name;
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      const auto meant = suggest(name, known);
      problems.add(map.keys[i].place, path, "no key of task ", name_of(task.kind),
                   meant ? "; did you mean '" + *meant + "'?" : "; known here: " + joined(known));
      good = false;
    } else {
      good = read_member(name, map.items[i], path, task, problems) && good;
    }
  }
  return good ? std::optional(task) : std::nullopt;
}

nlohmann::json task_json(const TaskConfig& task) {
  nlohmann::json json = {{"task", name_of(task.kind)}};
  for (const TaskKey& key : numbers()) {
    if (knows(key, task.kind)) json[key.name] = task.*key.field;
  }
  if (!task.haystack.empty()) json["haystack"] = task.haystack;
  json["loss_on"] = kLossOn[task.loss_on_answer ? 1 : 0];
  return json;
}

nlohmann::ordered_json task_schema() {
  ordered_json properties = {{"task", {{"enum", task_names()}}}};
  for (const TaskKey& key : numbers()) {
    properties[key.name] = {{"type", "integer"},
                            {"minimum", key.low},
                            {"maximum", key.high},
                            {"description", key.help}};
  }
  properties["haystack"] = {{"type", "string"}, {"minLength", 1}, {"description", kHaystackHelp}};
  properties["loss_on"] = {{"enum", kLossOn}, {"description", kLossOnHelp}};
  ordered_json json = {{"type", "object"}};
  json["properties"] = std::move(properties);
  json["required"] = ordered_json::array({"task"});
  json["additionalProperties"] = false;
  return json;
}

std::string task_markdown() {
  std::ostringstream out;
  out << "A task stands alone in its list, in `data.train` and, where another one should validate, "
         "in `data.validation`;\na share above 0 there means held-out episodes of the same task, "
         "which are never trained on. Each fills a\nsequence; `answer_accuracy` is the share of "
         "answer tokens that are predicted right.\n\n"
         "| task | what it looks like |\n|---|---|\n"
         "| `needle` | `filler#KA=31filler#BX=07filler#KA=31`: pairs at random distances, one is "
         "asked for |\n"
         "| `mqar` | `#K=3#B=0#X=9filler#X=9#K=3`: several are asked for |\n"
         "| `copy` | `filler#QWERTY=QWERTY`: a string again |\n\n"
         "| key | tasks | default | meaning |\n|---|---|---|---|\n";
  const auto row = [&](const char* name, const std::string& tasks, const std::string& standard,
                       const char* help) {
    out << "| `" << name << "` | " << tasks << " | " << standard << " | " << help << " |\n";
  };
  for (const TaskKey& key : numbers()) {
    std::vector<std::string> tasks, defaults;
    for (const TaskKind kind : key.tasks) {
      tasks.emplace_back(name_of(kind));
      defaults.push_back(concat(default_task(kind).*key.field));
    }
    if (std::all_of(defaults.begin(), defaults.end(),
                    [&](const std::string& d) { return d == defaults.front(); })) {
      defaults.resize(1);
    }
    row(key.name, joined(tasks), joined(defaults), key.help);
  }
  row("haystack", "needle, mqar", "none", kHaystackHelp);
  row("loss_on", joined(task_names()), "all", kLossOnHelp);
  return out.str();
}

}  // namespace shoal

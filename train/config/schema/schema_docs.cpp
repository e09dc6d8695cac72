#include "train/config/schema/schema_docs.h"

#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "train/config/schema/fault_keys.h"
#include "train/config/schema/schema.h"
#include "train/config/schema/task_keys.h"
#include "train/config/schema/yaml_text.h"

namespace shoal {
namespace {

using nlohmann::ordered_json;

struct SectionHelp {
  const char* name;
  const char* help;
};
constexpr SectionHelp kSections[] = {
    {"run", "What this run is called and where it lives."},
    {"model", "The model, in the key names of a Hugging Face `config.json`. Required."},
    {"data", "What to learn from."},
    {"train", "How long, in which portions; at least one of steps, tokens and minutes."},
    {"loss", "Weights of the parts that are added to the cross-entropy."},
    {"indexer", "The lightning indexers of CSA layers."},
    {"optim", "Optimizer and learning rate."},
    {"stability", "What keeps a run healthy."},
    {"checkpoint", "What is saved."},
    {"log", "What is printed."},
};

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

// "whole number from 1 to 8, tokens": the form, its limits and its unit.
std::string type_text(const Key& key) {
  const auto numeric = [&](const char* what) {
    Bounds range = key.range;
    if (range.high >= static_cast<double>(kMaxSize))
      range.high = Bounds().high;  // tells nobody much
    const std::string limits = range.text();
    return concat(what, limits == "any" ? "" : " ", limits == "any" ? "" : limits,
                  key.unit.empty() ? "" : ", in ", key.unit);
  };
  switch (key.form) {
    case Form::kInteger:
      return numeric("whole number");
    case Form::kNumber:
      return numeric("number");
    case Form::kBool:
      return "true or false";
    case Form::kText:
      return "text";
    case Form::kPath:
      return "path";
    case Form::kChoice:
      return joined(key.choices, " or ");
    case Form::kLayers:
      return "list of " + joined(key.choices, ", ") + ", with xN";
    case Form::kTexts:
      return "list of texts";
    case Form::kCorpora:
      return "list of paths or {path, weight}, or one {task, ...}";
    case Form::kValidation:
      return "number " + key.range.text() + ", or a list like data.train";
    case Form::kBatchStages:
      return "list of {from_step, sequence_length, batch_tokens, micro_batch}";
    case Form::kFaults:
      return "list of {kind, at_step, steps, factor}";
    case Form::kStages:
      return joined(key.choices, " or ") + ", or a list of {stage, from_step}";
  }
  check_failed(__FILE__, __LINE__, "a known Form");
}

std::string default_text(const Key& key) {
  const nlohmann::json value = key.value(RunConfig());
  if (value.is_string() && value.get<std::string>().empty()) return "none";
  if (value.is_array() && value.empty()) return "none";
  return yaml_text(value);
}

ordered_json corpora_schema() {
  return {{"type", "array"},
          {"items",
           {{"anyOf",
             {{{"type", "string"}, {"minLength", 1}},
              {{"type", "object"},
               {"properties",
                {{"path", {{"type", "string"}, {"minLength", 1}}},
                 {"weight", {{"type", "number"}, {"exclusiveMinimum", 0}}}}},
               {"required", {"path"}},
               {"additionalProperties", false}},
              task_schema()}}}}};
}

void add_limits(const Bounds& range, ordered_json& json) {
  const auto put = [&](const char* name, double limit) {
    if (!std::isfinite(limit)) return;
    if (limit == std::floor(limit) && std::abs(limit) < 1e15) {
      json[name] = static_cast<std::int64_t>(limit);
    } else {
      json[name] = limit;
    }
  };
  put(range.low_open ? "exclusiveMinimum" : "minimum", range.low);
  put(range.high_open ? "exclusiveMaximum" : "maximum", range.high);
}

ordered_json value_schema(const Key& key) {
  ordered_json json = ordered_json::object();
  switch (key.form) {
    case Form::kInteger:
    case Form::kNumber:
      json["type"] = key.form == Form::kInteger ? "integer" : "number";
      add_limits(key.range, json);
      return json;
    case Form::kBool:
      json["type"] = "boolean";
      return json;
    case Form::kText:
    case Form::kPath:
      json["type"] = "string";
      return json;
    case Form::kChoice:
      json["enum"] = key.choices;
      return json;
    case Form::kLayers:  // YAML takes "(csa, hca) x4" apart at its comma: any text may be a part
      json["type"] = {"array", "string"};
      json["items"] = {{"type", "string"}, {"minLength", 1}};
      json["maxItems"] = kMaxLayers;
      json["examples"] = ordered_json::array({key.choices});
      return json;
    case Form::kTexts:
      json["type"] = "array";
      json["items"] = {{"type", "string"}, {"minLength", 1}};
      return json;
    case Form::kCorpora:
      return corpora_schema();
    case Form::kBatchStages: {
      const ordered_json size = {{"type", "integer"}, {"minimum", 1}};
      ordered_json entry = {{"type", "object"},
                            {"properties",
                             {{"from_step", {{"type", "integer"}, {"minimum", 0}}},
                              {"sequence_length", size},
                              {"batch_tokens", size},
                              {"micro_batch", size}}},
                            {"required", {"from_step"}},
                            {"additionalProperties", false}};
      json["type"] = "array";
      json["items"] = std::move(entry);
      return json;
    }
    case Form::kFaults:
      return faults_schema();
    case Form::kStages: {
      ordered_json entry = {{"type", "object"},
                            {"properties",
                             {{"stage", {{"enum", key.choices}}},
                              {"from_step", {{"type", "integer"}, {"minimum", 0}}}}},
                            {"required", {"stage"}},
                            {"additionalProperties", false}};
      json["anyOf"] = ordered_json::array(
          {{{"enum", key.choices}}, {{"type", "array"}, {"items", entry}, {"minItems", 1}}});
      return json;
    }
    case Form::kValidation: {
      ordered_json share = {{"type", "number"}};
      add_limits(key.range, share);
      ordered_json files = corpora_schema();
      files["minItems"] = 1;
      json["anyOf"] = ordered_json::array({share, files});
      return json;
    }
  }
  check_failed(__FILE__, __LINE__, "a known Form");
}

void put_property(ordered_json& object, const std::string& path, ordered_json value) {
  const std::size_t dot = path.find('.');
  ordered_json& properties = object["properties"];
  if (dot == std::string::npos) {
    properties[path] = std::move(value);
    return;
  }
  ordered_json& inner = properties[path.substr(0, dot)];
  if (inner.is_null()) {
    inner = {{"type", {"object", "null"}}, {"additionalProperties", false}};
    inner["properties"] = ordered_json::object();
  }
  put_property(inner, path.substr(dot + 1), std::move(value));
}

}  // namespace

std::string schema_table() {
  std::ostringstream out;
  for (const SectionHelp& section : kSections) {
    out << section.name << ": " << section.help << '\n';
    for (const Key& key : schema()) {
      if (key.section() != section.name) continue;
      out << "  " << key.path << " = " << default_text(key) << '\n'
          << "      " << type_text(key) << '\n'
          << "      " << key.help << '\n';
      if (!key.alias.empty()) out << "      also as " << key.alias << '\n';
    }
    out << '\n';
  }
  out << "extends: OTHER.yaml at the top of a file reads that file first, relative to its "
         "folder.\n";
  return out.str();
}

nlohmann::ordered_json schema_json() {
  ordered_json root = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                       {"title", "Shoal run configuration"},
                       {"type", "object"},
                       {"additionalProperties", false}};
  root["properties"]["extends"] = {
      {"type", "string"},
      {"minLength", 1},
      {"description", "a file to read first, relative to this one's folder; maps merge"}};
  for (const Key& key : schema()) {
    ordered_json value = value_schema(key);
    const nlohmann::json standard = key.value(RunConfig());
    const bool derived = standard.is_array() || standard == nlohmann::json("");
    if (!derived) value["default"] = standard;
    value["description"] = key.help + (key.unit.empty() ? "" : " (" + key.unit + ")");
    if (!key.alias.empty()) put_property(root, key.alias, value);
    put_property(root, key.path, std::move(value));
  }
  for (const SectionHelp& section : kSections) {
    root["properties"][section.name]["description"] = section.help;
  }
  return root;
}

std::string schema_markdown() {
  std::ostringstream out;
  out << "# Configuration keys\n\n"
         "A run is described by a YAML file; `configs/replicas/` has some to copy from. Every key "
         "has a default\nexcept `model` and, to train, `data.train` and the end of the run. "
         "`shoal config show FILE.yaml` prints all\nvalues with their origin, `shoal train "
         "FILE.yaml section.key=value` overrides one, and `extends: OTHER.yaml`\nat the top of a "
         "file reads another one first, relative to the file's own folder: maps merge, lists and "
         "values\nare replaced.\n\n"
         "Keys marked ● can change when a run is resumed; the others would change its numbers. "
         "`train.steps` and\n`train.tokens` can, too, where `optim.decay_share` is 0. Whole "
         "numbers may be written as `20e6`; `true` and\n`false` are the only switches. Paths are "
         "relative to the working directory.\n\n"
         "This page is generated from the table in `train/config/schema/schema.cpp`: "
         "`shoal config schema --markdown`.\n";
  for (const SectionHelp& section : kSections) {
    out << "\n## " << section.name << "\n\n" << section.help << "\n\n";
    out << "| key | default | value | meaning |\n|---|---|---|---|\n";
    for (const Key& key : schema()) {
      if (key.section() != section.name) continue;
      out << "| `" << key.path << "`" << (key.changes_numbers ? "" : " ●") << " | `"
          << default_text(key) << "` | " << type_text(key) << " | " << key.help
          << (key.alias.empty() ? "" : "; also as `" + key.alias + "`") << " |\n";
    }
    if (section.name == std::string("data")) out << "\n### Tasks\n\n" << task_markdown();
  }
  return out.str();
}

}  // namespace shoal

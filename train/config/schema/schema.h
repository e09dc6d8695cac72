#pragma once
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "train/config/document/problems.h"
#include "train/config/run_config.h"
#include "train/config/schema/values.h"

namespace shoal {

// What a value looks like.
enum class Form {
  kInteger,
  kNumber,
  kBool,
  kText,
  kPath,         // stored absolute
  kChoice,       // one of `choices`
  kLayers,       // a list of them, one a layer, with repetition
  kTexts,        // a list of text
  kCorpora,      // a list of paths or {path, weight}
  kValidation,   // a share of the documents, or kCorpora
  kBatchStages,  // a list of {from_step, sequence_length, ...}
  kFaults,       // a list of {kind, at_step, steps, factor}
  kStages,       // one of `choices`, or a list of {stage, from_step}
};

// One key of the configuration. The table of all keys is the only place that knows them: reading,
// defaults, `config show`, `config schema`, docs/config.md and "did you mean" follow from it.
struct Key {
  std::string path{};  // "optim.lr"
  Form form = Form::kText;
  Bounds range{};                      // of numbers
  std::vector<std::string> choices{};  // that work today; others may be known and refused
  std::string unit{};                  // "" where it has none
  std::string help{};                  // one line
  std::string alias{};                 // another path that means the same, or ""
  // Another value trains other numbers, so a run cannot go on with it.
  bool changes_numbers = true;

  // Stores the node's value, or says what is wrong with it.
  std::function<void(const Node&, RunConfig&, Problems&)> read{};
  // Of a value that changes numbers: what of it does, where that is not all. Where texts lie does
  // not; what they hold is the fingerprint's to tell (Trainer::resume_run).
  std::function<nlohmann::json(const RunConfig&)> numbers{};
  // The value as JSON, whose text is YAML too. Of a default RunConfig: the default.
  std::function<nlohmann::json(const RunConfig&)> value{};

  std::string section() const { return path.substr(0, path.find('.')); }
  std::string name() const { return path.substr(path.rfind('.') + 1); }
};

// Every key, in the order of interface and documentation; a section's keys stand together.
const std::vector<Key>& schema();

// The key of this path, or null. Aliases are not looked up.
const Key* find_key(const std::string& path);

// True where `path` is a map around keys: "optim", "model.init".
bool is_section(const std::string& path);

// What may stand directly inside a section ("" for the top), keys and maps.
std::vector<std::string> names_inside(const std::string& section);

}  // namespace shoal

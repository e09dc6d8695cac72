#include "train/config/show_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "autograd/base/sha256.h"
#include "train/config/schema/schema.h"
#include "train/config/schema/yaml_text.h"

namespace shoal {
namespace {

constexpr std::size_t kCommentColumn = 48;

// Sections open and close as the dotted paths say.
template <class CommentOf>
std::string write_yaml(const RunConfig& config, const CommentOf& comment_of) {
  std::ostringstream out;
  std::string open;  // the section of the line before
  for (const Key& key : schema()) {
    std::string section;
    std::size_t depth = 0;
    for (std::size_t dot = key.path.find('.'); dot != std::string::npos;
         dot = key.path.find('.', dot + 1)) {
      const std::string inner = key.path.substr(0, dot);
      if (open != inner && open.compare(0, inner.size() + 1, inner + ".") != 0) {
        out << std::string(2 * depth, ' ') << inner.substr(inner.rfind('.') + 1) << ":\n";
      }
      section = inner;
      ++depth;
    }
    open = section;
    std::string line =
        std::string(2 * depth, ' ') + key.name() + ": " + yaml_text(key.value(config));
    const std::string comment = comment_of(key);
    if (!comment.empty()) {
      if (line.size() < kCommentColumn) line.resize(kCommentColumn, ' ');
      line += "  # " + comment;
    }
    out << line << '\n';
  }
  return out.str();
}

bool length_matters(const RunConfig& config) { return config.optim.decay_share > 0; }

nlohmann::json numbers_of(const Key& key, const RunConfig& config) {
  return key.numbers ? key.numbers(config) : key.value(config);
}

bool changes_numbers(const Key& key, bool length_counts) {
  const bool is_length = key.path == "train.steps" || key.path == "train.tokens";
  return key.changes_numbers && (!is_length || length_counts);
}

}  // namespace

std::string to_yaml(const RunConfig& config) {
  return write_yaml(config, [](const Key&) { return std::string(); });
}

std::string to_yaml_with_origins(const LoadedConfig& loaded) {
  const RunConfig defaults;
  return write_yaml(loaded.config, [&](const Key& key) -> std::string {
    const auto origin = loaded.origins.find(key.path);
    if (origin != loaded.origins.end()) return origin->second.line_text();
    return key.value(loaded.config) == key.value(defaults) ? "default" : "derived";
  });
}

std::vector<ConfigDifference> config_diff(const RunConfig& a, const RunConfig& b) {
  std::vector<ConfigDifference> differences;
  for (const Key& key : schema()) {
    const nlohmann::json of_a = key.value(a), of_b = key.value(b);
    if (of_a != of_b) differences.push_back({key.path, yaml_text(of_a), yaml_text(of_b)});
  }
  return differences;
}

std::vector<std::string> keys_that_change_numbers(const RunConfig& a, const RunConfig& b) {
  const bool length_counts = length_matters(a) || length_matters(b);
  std::vector<std::string> keys;
  for (const Key& key : schema()) {
    if (changes_numbers(key, length_counts) && numbers_of(key, a) != numbers_of(key, b)) {
      keys.push_back(key.path);
    }
  }
  return keys;
}

std::string config_hash(const RunConfig& config) {
  std::string text;
  for (const Key& key : schema()) {
    if (!changes_numbers(key, length_matters(config))) continue;
    text += key.path + "=" + numbers_of(key, config).dump() + "\n";
  }
  return sha256_hex(text.data(), text.size());
}

}  // namespace shoal

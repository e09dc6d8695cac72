#include "train/config/load_config.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "autograd/base/read_file.h"
#include "train/config/cross_checks.h"
#include "train/config/document/yaml_reader.h"
#include "train/config/published/published_keys.h"
#include "train/config/schema/schema.h"
#include "train/config/wrong_file.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxExtends = 8;
// A resolved configuration spells every default and path out, so it may outgrow its file.
constexpr std::size_t kMaxStoredBytes = 16 * kMaxYamlBytes;

Place whole(const std::shared_ptr<const Source>& source) { return {source, 0, 0}; }

// At most a byte more than a configuration may have, so that a wrong path cannot fill the memory.
// nullopt: `why` says why not.
std::optional<std::string> read_yaml_file(const std::string& path, std::string& why) {
  std::error_code ignored;
  std::optional<std::string> text;
  try {
    if (!fs::is_directory(path, ignored)) {
      text = read_file(path, Failure::kUsage, kMaxYamlBytes + 1);
    }
  } catch (const Error& error) {
    why = std::string(error.what()).substr(path.size() + 2);  // behind "path: "
    return std::nullopt;
  }
  if (const auto wrong = wrong_file(path, text)) {
    why = *wrong;
    return std::nullopt;
  }
  return text;
}

class Loader {
 public:
  // The tree of a file with everything it extends merged below it.
  Node load_file(const std::string& path, const Place* named_at) {
    const auto source = std::make_shared<const Source>(Source{path, order_++});
    std::string why;
    const auto text = read_yaml_file(path, why);
    if (!text) {
      if (named_at == nullptr) {
        problems_.add(whole(source), "", why);
      } else {
        problems_.add(*named_at, "extends", "'", excerpt(path), "' ", why,
                      "; the path is relative to this file's folder");
      }
      broken_ = true;
      return {};
    }
    auto root = read_yaml(*text, source, problems_);
    broken_ = broken_ || !root;
    if (!root) return {};
    return with_base(std::move(*root), path);
  }

  Node load_text(const std::string& text, const std::string& name) {
    const auto source = std::make_shared<const Source>(Source{name, order_++});
    auto root = read_yaml(text, source, problems_, kMaxStoredBytes);
    broken_ = broken_ || !root;
    if (!root) return {};
    if (const Node* base = root->find("extends")) {
      problems_.add(base->place, "extends", "a stored configuration stands alone; remove it");
      root->erase("extends");
    }
    rename_keys(*root);
    return std::move(*root);
  }

  void apply(const std::string& argument, Node& root) {
    const auto source = std::make_shared<const Source>(
        Source{concat("argument '", excerpt(argument, 100), "'"), order_++, false});
    const Place place = whole(source);
    const std::size_t equals = argument.find('=');
    if (equals == std::string::npos) {
      problems_.add(place, "", "no '='; write key=value, such as optim.lr=3e-4");
      return;
    }
    const std::string path = argument.substr(0, equals);
    if (!is_dotted_path(path)) {
      problems_.add(place, "", "'", excerpt(path),
                    "' is no key; write section.key=value, such as optim.lr=3e-4");
      return;
    }
    if (path == "extends") {
      problems_.add(place, path, "cannot be overridden; put it at the top of a file");
      return;
    }
    auto value = read_yaml(argument.substr(equals + 1), source, problems_);
    if (!value) return;
    Node tree = std::move(*value);
    std::string rest = path;
    while (!rest.empty()) {
      const std::size_t dot = rest.rfind('.');
      Node around;
      around.kind = Node::Kind::kMap;
      around.place = place;
      around.set({rest.substr(dot == std::string::npos ? 0 : dot + 1), place}, std::move(tree));
      tree = std::move(around);
      rest = dot == std::string::npos ? "" : rest.substr(0, dot);
    }
    rename_keys(tree);
    merge(root, std::move(tree));
  }

  LoadedConfig finish(Node root, const Place& place, const ReadOptions& options) {
    // Of a file that is no YAML the keys are unknown: what else could be said would be wrong.
    if (broken_) problems_.throw_if_any(Failure::kUsage);
    LoadedConfig loaded;
    read_keys(root, loaded.config, loaded.origins, problems_);
    if (root.kind == Node::Kind::kScalar || root.kind == Node::Kind::kList) {
      problems_.throw_if_any(Failure::kUsage);
    }
    if (root.find("model") == nullptr) {
      problems_.add(place, "model", "missing; say at least 'model: {num_hidden_layers: 4}'");
    }
    const RunConfig as_written = loaded.config;
    check_run(loaded.config, loaded.origins, place, options.needs_data, problems_);
    problems_.throw_if_any(Failure::kUsage);
    for (const Key& key : schema()) {  // hc_mult of plain streams, say
      if (key.value(as_written) != key.value(loaded.config)) loaded.origins.erase(key.path);
    }
    return loaded;
  }

 private:
  // Other words for a key become the schema's, document by document.
  void rename_keys(Node& root) {
    modernise_yaml_model(root, problems_);
    resolve_aliases(root, problems_);
  }

  static bool is_dotted_path(const std::string& path) {
    bool part_is_empty = true;
    for (const char c : path) {
      if (c == '.' && part_is_empty) return false;
      if (c != '.' && (static_cast<unsigned char>(c) <= ' ' || c == 0x7F)) return false;
      part_is_empty = c == '.';
    }
    return !part_is_empty;
  }

  Node with_base(Node root, const std::string& path) {
    rename_keys(root);
    const Node* extends = root.find("extends");
    if (extends == nullptr) return root;
    const Node base = *extends;
    const bool was_broken = broken_;
    root.erase("extends");
    broken_ = true;  // until the base is there
    if (base.kind != Node::Kind::kScalar || base.text.empty() ||
        base.text.find('\0') != std::string::npos) {
      problems_.add(base.place, "extends", "has ", describe(base), "; name one YAML file");
      return root;
    }
    if (const auto shorthand = find_shorthand(base.text)) {
      problems_.add(base.place, "extends", describe(base), ": ", *shorthand);
      return root;
    }
    const std::string base_path = (fs::path(path).parent_path() / base.text).string();
    chain_.push_back(canonical(path));
    if (std::find(chain_.begin(), chain_.end(), canonical(base_path)) != chain_.end()) {
      problems_.add(base.place, "extends", "'", excerpt(base_path),
                    "' extends itself through this file; break the "
                    "circle");
    } else if (chain_.size() > kMaxExtends) {
      problems_.add(base.place, "extends", "more than ", kMaxExtends,
                    " files extend each other; merge some of them");
    } else {
      broken_ = was_broken;
      Node merged = load_file(base_path, &base.place);
      merge(merged, std::move(root));
      root = std::move(merged);
    }
    chain_.pop_back();
    return root;
  }

  static std::string canonical(const std::string& path) {
    std::error_code error;
    const fs::path resolved = fs::weakly_canonical(path, error);
    return error ? path : resolved.string();
  }

  Problems problems_;
  std::vector<std::string> chain_;  // files being read, the extending ones first
  int order_ = 0;
  bool broken_ = false;  // a file could not be read as YAML
};

LoadedConfig finish_with(Loader& loader, Node root, const std::string& name,
                         const std::vector<std::string>& overrides, const ReadOptions& options) {
  for (const std::string& argument : overrides) loader.apply(argument, root);
  const auto source = std::make_shared<const Source>(Source{name, 0});
  return loader.finish(std::move(root), whole(source), options);
}

}  // namespace

LoadedConfig load_config_with_origins(const std::string& path,
                                      const std::vector<std::string>& overrides,
                                      const ReadOptions& options) {
  Loader loader;
  Node root = loader.load_file(path, nullptr);
  return finish_with(loader, std::move(root), path, overrides, options);
}

RunConfig load_config(const std::string& path, const std::vector<std::string>& overrides,
                      const ReadOptions& options) {
  return load_config_with_origins(path, overrides, options).config;
}

RunConfig parse_config(const std::string& text, const std::string& name,
                       const std::vector<std::string>& overrides, const ReadOptions& options) {
  Loader loader;
  Node root = loader.load_text(text, name);
  return finish_with(loader, std::move(root), name, overrides, options).config;
}

}  // namespace shoal

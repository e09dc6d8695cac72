#include "train/config/schema/read_keys.h"

#include <cstddef>
#include <optional>
#include <utility>

#include "train/config/document/suggest.h"
#include "train/config/schema/schema.h"
#include "train/config/schema/unsupported.h"

namespace shoal {
namespace {

constexpr int kMaxSuggestions = 50;

std::vector<std::string> split(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

class KeyReader {
 public:
  KeyReader(RunConfig& config, Origins& origins, Problems& problems,
            std::vector<std::string>* unknown)
      : config_(config), origins_(origins), problems_(problems), unknown_(unknown) {}

  void read_map(const Node& map, const std::string& section) {
    const std::string prefix = section.empty() ? "" : section + ".";
    for (std::size_t i = 0; i < map.keys.size(); ++i) {
      const std::string path = prefix + map.keys[i].text;
      const Key* key = find_key(path);
      if (key != nullptr) {
        read_value(*key, map.items[i]);
      } else if (is_section(path)) {
        read_section(map.items[i], path);
      } else {
        refuse(map.keys[i], map.items[i], section, path);
      }
    }
  }

 private:
  void read_value(const Key& key, const Node& node) {
    if (problems_.touches(key.path)) return;  // an anchor, say: one problem is enough
    origins_[key.path] = node.place;
    key.read(node, config_, problems_);
  }

  void read_section(const Node& node, const std::string& path) {
    if (node.kind == Node::Kind::kMap) {
      read_map(node, path);
    } else if (node.kind != Node::Kind::kNull) {  // every line of a section may be commented out
      problems_.add(node.place, path, "has ", describe(node), "; give a map of keys");
    }
  }

  void refuse(const Node::Key& key, const Node& value, const std::string& section,
              const std::string& path) {
    if (const auto reason = unsupported(path, value, unknown_ != nullptr)) {
      if (!reason->empty()) problems_.add(key.place, path, *reason);
      return;
    }
    if (unknown_ != nullptr) {
      unknown_->push_back(path);
      return;
    }
    problems_.add(key.place, path, explain_unknown(key.text, section, path));
  }

  std::string explain_unknown(const std::string& name, const std::string& section,
                              const std::string& path) {
    if (path == "extends" || name == "extends") {
      return "belongs at the top of a file; move it there";
    }
    if (++suggestions_ > kMaxSuggestions) return "unknown key";
    const std::vector<std::string> here = names_inside(section);
    if (const auto meant = suggest(name, here)) {
      problems_.doubt((section.empty() ? "" : section + ".") + *meant);
      return "unknown key; did you mean '" + *meant + "'?";
    }
    for (const Key& key : schema()) {
      if (key.name() == name) {
        problems_.doubt(key.path);
        return "unknown key; did you mean '" + key.path + "'?";
      }
    }
    if (here.size() > 20) return "unknown key; 'shoal config schema' lists all keys";
    std::string names;
    for (const std::string& one : here) names += (names.empty() ? "" : ", ") + one;
    return "unknown key; known here: " + names;
  }

  RunConfig& config_;
  Origins& origins_;
  Problems& problems_;
  std::vector<std::string>* unknown_;
  int suggestions_ = 0;  // each costs a comparison with every known name
};

// Takes the value at `path` out of the tree.
std::optional<std::pair<Node::Key, Node>> take(Node& root, const std::vector<std::string>& path) {
  Node* map = &root;
  for (std::size_t i = 0; i + 1 < path.size(); ++i) {
    map = map->find(path[i]);
    if (map == nullptr || map->kind != Node::Kind::kMap) return std::nullopt;
  }
  for (std::size_t i = 0; i < map->keys.size(); ++i) {
    if (map->keys[i].text != path.back()) continue;
    std::pair<Node::Key, Node> taken(map->keys[i], map->items[i]);
    map->erase(path.back());
    return taken;
  }
  return std::nullopt;
}

// The value at `path`, made (with the maps around it) where it is missing; null where a map is
// something else.
Node* make(Node& root, const std::vector<std::string>& path, const Place& place) {
  Node* node = &root;
  for (const std::string& part : path) {
    if (node->kind == Node::Kind::kNull) {
      *node = Node{};
      node->kind = Node::Kind::kMap;
      node->place = place;
    }
    if (node->kind != Node::Kind::kMap) return nullptr;
    Node* next = node->find(part);
    if (next == nullptr) {
      Node empty;
      empty.place = place;
      next = &node->set({part, place}, std::move(empty));
    }
    node = next;
  }
  return node;
}

}  // namespace

void resolve_aliases(Node& root, Problems& problems) {
  for (const Key& key : schema()) {
    if (key.alias.empty()) continue;
    auto taken = take(root, split(key.alias));
    if (!taken) continue;
    Node* target = make(root, split(key.path), taken->first.place);
    if (target == nullptr) continue;  // a map around it is none: said when that is read
    if (target->kind != Node::Kind::kNull) {
      problems.add(taken->first.place, key.alias, "means the same as ", key.path,
                   ", which is given too; keep one of them");
      continue;
    }
    *target = std::move(taken->second);
  }
}

void read_keys(const Node& root, RunConfig& config, Origins& origins, Problems& problems,
               std::vector<std::string>* unknown) {
  if (root.kind != Node::Kind::kMap) {
    if (root.kind != Node::Kind::kNull) {
      problems.add(root.place, "", "holds ", describe(root),
                   "; a configuration is a map: "
                   "sections such as 'model:' with keys inside");
    }
    return;
  }
  KeyReader(config, origins, problems, unknown).read_map(root, "");
}

}  // namespace shoal

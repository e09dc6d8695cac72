#pragma once
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "train/config/document/document.h"
#include "train/config/document/problems.h"

namespace shoal {

inline constexpr std::size_t kMaxYamlBytes = 1U << 20;

// One YAML document as a tree. Of YAML it takes maps, lists and scalars; what yaml-cpp lets pass
// and a configuration does not need is a problem: duplicate keys, anchors, aliases, tags, merge
// keys, a second document, text that is not UTF-8, nesting deeper than 32. Syntax errors end the
// reading (nullopt); all other problems are collected. An empty text is Node::kNull.
std::optional<Node> read_yaml(const std::string& text, const std::shared_ptr<const Source>& source,
                              Problems& problems, std::size_t max_bytes = kMaxYamlBytes);

}  // namespace shoal

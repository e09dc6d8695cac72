#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "train/config/document/document.h"
#include "train/config/document/problems.h"

namespace shoal {

// A list of names with repetition, one name for each layer:
//   list = item, item, ...     item = NAME or (list), then maybe xN: N times
// such as [window x2, (csa, hca) x4]. To YAML the brackets are a list of three plain texts, "window
// x2", "(csa" and "hca) x4", which are put together again; so a block of "- " lines and a text
// without brackets mean the same.
struct LayerList {
  std::vector<Node> names;         // scalars, each where it stands in the file
  std::vector<std::size_t> order;  // of each layer its name's index
};

// Nothing where something is wrong, which is said of `key`; at most `most` layers.
std::optional<LayerList> read_layer_list(const Node& node, const std::string& key, std::size_t most,
                                         Problems& problems);

}  // namespace shoal

#pragma once
#include <map>
#include <string>
#include <vector>

#include "train/config/document/document.h"
#include "train/config/document/problems.h"
#include "train/config/run_config.h"

namespace shoal {

// Which place gave each key its value; keys with their default are absent.
using Origins = std::map<std::string, Place>;

// Moves aliases (model.rope_theta) to where the schema has them. Both in one document: a problem.
void resolve_aliases(Node& root, Problems& problems);

// Stores every value of the tree in `config` and its place in `origins`. Unknown keys are
// problems, unless `unknown` is given (a config.json), which then lists their paths.
void read_keys(const Node& root, RunConfig& config, Origins& origins, Problems& problems,
               std::vector<std::string>* unknown = nullptr);

}  // namespace shoal

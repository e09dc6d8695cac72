#pragma once
#include "train/config/document/problems.h"
#include "train/config/run_config.h"
#include "train/config/schema/read_keys.h"

namespace shoal {

// Fills what is derived (ModelConfig::complete, run.dir) and adds every impossible combination of
// keys to `problems`, at the place that gave the key. Keys that already have a problem are left
// alone. `needs_data`: training needs data.train and an end.
void check_run(RunConfig& config, const Origins& origins, const Place& whole, bool needs_data,
               Problems& problems);

}  // namespace shoal

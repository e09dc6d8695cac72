#pragma once
#include <string>

#include "train/metrics/run_history.h"

namespace shoal {

// What each source of the data gave and costs: a row for each where there are several, else "".
// From the newest event "data" and the last evaluation.
std::string sources_section(const RunHistory& history);

}  // namespace shoal

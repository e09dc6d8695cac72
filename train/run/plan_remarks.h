#pragma once
#include <string>
#include <vector>

#include "train/config/run_config.h"

namespace shoal {

// What a configuration asks for and the run will not do, known before it begins. Paths and sizes
// are right by then: these are settings that mean nothing next to one another.
struct Remark {
  bool warns = false;  // the numbers are other than the settings say; else only something is absent
  std::string text;
};
std::vector<Remark> plan_remarks(const RunConfig& config);

}  // namespace shoal

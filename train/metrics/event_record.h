#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "train/metrics/records.h"

namespace shoal {

struct EventRecord {
  std::int64_t step = 0;
  std::string event;
  Json fields = Json::object();  // free; `kind`, `step`, `event` and `time` are taken
  double time = 0;
};

}  // namespace shoal

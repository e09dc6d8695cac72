#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "optim/schedule.h"
#include "train/config/run_config.h"
#include "train/metrics/records.h"

namespace shoal {

// What the end of a run has to say beside its numbers.
struct ClosingRemark {
  EventRecord event;     // step and time are the caller's
  std::string sentence;  // for the last line
};

// `minutes_ended`: train.minutes was over before the planned steps were done. `metrics`: the path
// of the run's lines so far.
std::vector<ClosingRemark> closing_remarks(const RunConfig& config, const ScheduleConfig& schedule,
                                           std::int64_t step, bool minutes_ended,
                                           const std::string& metrics);

// Of a run that is finished: the keys that ended it, and how to train on.
std::string how_to_go_on(const RunConfig& config, std::int64_t step);

}  // namespace shoal

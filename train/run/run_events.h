#pragma once
#include <cstdint>
#include <string>

#include "train/config/run_config.h"
#include "train/metrics/records.h"
#include "train/run/run_clock.h"

namespace shoal {

// The fields of the events that begin and end a process's part of a run (docs/metrics.md).

// Program, configuration and machine.
Json start_fields(const RunConfig& config, std::int64_t parameters, std::size_t planned_bytes,
                  double peak_gflops);
// `reason`: done, minutes, signal, bad_numbers or spike.
Json end_fields(const std::string& reason, const RunClock& clock, std::int64_t tokens);

// {"changed": {"log.every": {"old": 10, "new": 20}}} against the configuration in a text, which is
// that of a checkpoint; no field where nothing has changed, or where the text cannot be read.
Json changed_fields(const std::string& yaml, const RunConfig& now);

// Where a fork comes from, and what is changed against that.
Json fork_fields(const std::string& parent, const std::string& yaml, const RunConfig& now);

}  // namespace shoal

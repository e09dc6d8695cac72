#pragma once
#include <cstdint>
#include <functional>
#include <istream>
#include <string>
#include <vector>

#include "train/metrics/event_record.h"
#include "train/metrics/records.h"

namespace shoal {

// A run's metrics.jsonl in memory, in order of steps. Where a step appears twice (a run that went
// back) the later line counts. Lines that are broken or of no known kind are skipped and counted:
// a run that is going on, or was killed, has at most one broken line, its last.
struct RunHistory {
  std::vector<StepRecord> steps;
  std::vector<EvalRecord> evals;
  std::vector<LayerRecord> layers;  // of a long run every second, fourth ... step only
  std::vector<GroupRecord> groups;  // likewise
  std::vector<EventRecord> events;
  std::int64_t lines = 0, broken_lines = 0;
};

// Steps that layers are kept of: a chart has no more columns than this, and their lines are long.
inline constexpr std::int64_t kMostLayerSteps = 1024;

// `give_up` is asked before every line: the history ends there where it says yes.
using GiveUp = std::function<bool()>;
RunHistory read_history(std::istream& in, const GiveUp& give_up = nullptr);
// A missing file is an empty history. Throws Error(kDisk) if it is there and cannot be read.
RunHistory read_history(const std::string& path, const GiveUp& give_up = nullptr);

}  // namespace shoal

#pragma once
#include <string>

#include "train/metrics/run_history.h"

namespace shoal {

// What stands above the charts: when, what went wrong, the numbers that one looks for first, and
// what was run by which program on which machine.
std::string head_html(const RunHistory& history);

// "2025-01-31 12:00:00"; "" for a time that is none.
std::string utc(double time);

// A field as text, however it is stored; "" where there is none.
std::string field_text(const EventRecord& event, const char* name);
// "optim.lr: 0.004 -> 0.005, ..." of the field `changed`.
std::string changes_text(const Json& changed);

}  // namespace shoal

#pragma once
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "train/metrics/records.h"

namespace shoal {

// Every field that metrics.jsonl can hold, once: writing, reading and docs/metrics.md follow from
// these tables.

// Where a record keeps the number, or the numbers.
using FieldPlace = std::variant<std::int64_t*, double*, std::vector<std::int64_t>*>;

template <class Record>
struct Field {
  const char* name;
  const char* unit;  // "" where there is none
  const char* meaning;
  FieldPlace (*at)(Record&);                         // null: written by hand, see records.cpp
  bool (*is_there)(const Record& record) = nullptr;  // null: always
  const char* board = nullptr;  // folder in TensorBoard; null: none, or written by hand
};
const std::vector<Field<StepRecord>>& step_fields();
const std::vector<Field<EvalRecord>>& eval_fields();
const std::vector<Field<LayerRecord>>& layer_fields();
const std::vector<Field<GroupRecord>>& group_fields();

struct EventField {
  const char* name;
  const char* unit;
  const char* meaning;  // one that may be absent says when
};
struct EventKind {
  const char* name;
  const char* meaning;
  std::vector<EventField> fields;  // beside `kind`, `step`, `event` and `time`
};
const std::vector<EventKind>& event_kinds();

// What a line holds that the tables do not know, as a sentence; "" if they know all of it. A line
// that the program writes must leave nothing to say.
std::string undocumented(const Json& line);

std::string metrics_markdown();  // docs/metrics.md

}  // namespace shoal

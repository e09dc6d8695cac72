#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "data/synthetic/task.h"
#include "train/config/document/document.h"
#include "train/config/document/problems.h"

namespace shoal {

// {task: needle, pairs: 4, ...} in data.train and data.validation: one table, like the schema's,
// from which reading, printing and the documentation follow. Whether the sizes fit the sequences
// is for the cross checks.
std::optional<TaskConfig> read_task(const Node& map, const std::string& key, Problems& problems);
// With every key that its task knows.
nlohmann::json task_json(const TaskConfig& task);
nlohmann::ordered_json task_schema();
std::string task_markdown();

}  // namespace shoal

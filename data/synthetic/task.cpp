#include "data/synthetic/task.h"

#include <algorithm>

#include "autograd/base/check.h"

namespace shoal {

const char* name_of(TaskKind kind) {
  switch (kind) {
    case TaskKind::kNeedle:
      return "needle";
    case TaskKind::kMqar:
      return "mqar";
    case TaskKind::kCopy:
      return "copy";
  }
  check_failed(__FILE__, __LINE__, "a known TaskKind");
}

TaskConfig default_task(TaskKind kind) {
  TaskConfig task;
  task.kind = kind;
  if (kind == TaskKind::kMqar) {
    task.pairs = 8;
    task.key_length = task.value_length = 1;
  }
  return task;
}

std::int64_t count_keys(std::int64_t length) {
  std::int64_t count = 1;
  for (std::int64_t i = 0; i < std::min(length, kMaxKeyLength); ++i) count *= kKeyLetters;
  return count;
}

// A sequence of T rows reads and predicts T + 1 tokens, the first of which is bos.
TaskLayout layout_of(const TaskConfig& task, std::int64_t T) {
  TaskLayout layout;
  if (task.kind == TaskKind::kCopy) {
    layout.length = task.length > 0 ? task.length : (T - 2) / 2;
    layout.answers = layout.length;
    return layout;
  }
  layout.block = 2 + task.key_length + task.value_length;
  layout.queries = task.kind == TaskKind::kNeedle ? 1
                   : task.queries > 0             ? task.queries
                                                  : task.pairs;
  layout.min_distance = task.min_distance;
  layout.max_distance = task.max_distance > 0 ? task.max_distance : T - 2 * layout.block;
  layout.answers = layout.queries * task.value_length;
  return layout;
}

std::vector<TaskProblem> find_problems(const TaskConfig& task, std::int64_t T) {
  std::vector<TaskProblem> problems;
  const auto require = [&](bool holds, const char* key, const auto&... what) {
    if (!holds && problems.empty()) problems.push_back({key, concat(what...)});
  };
  const TaskLayout layout = layout_of(task, T);
  if (task.kind == TaskKind::kCopy) {
    require(T >= 4, "task", "copy needs sequences of 4 tokens or more, not ", T);
    require(layout.length <= (T - 2) / 2, "length", task.length,
            " letters twice do not fit in sequences of ", T, "; use at most ", (T - 2) / 2);
    return problems;
  }
  require(task.pairs <= count_keys(task.key_length), "pairs", task.pairs,
          " pairs need as many keys, and there are ", count_keys(task.key_length),
          " of key_length ", task.key_length, "; use a longer key_length");
  const std::int64_t w = layout.block;
  if (task.kind == TaskKind::kMqar) {
    require(layout.queries <= task.pairs, "queries", task.queries, " queries for ", task.pairs,
            " pairs; use at most as many");
    require((task.pairs + layout.queries) * w <= T, "pairs", task.pairs, " pairs and ",
            layout.queries, " queries of ", w, " tokens do not fit in sequences of ", T,
            "; they need ", (task.pairs + layout.queries) * w);
    return problems;
  }
  const std::int64_t farthest = T - 2 * w;
  require(farthest >= 0, "task", "a pair and its query of ", w,
          " tokens each do not fit in sequences of ", T, "; they need ", 2 * w);
  require(task.max_distance <= farthest, "max_distance", task.max_distance,
          " does not fit in sequences of ", T, "; use at most ", farthest);
  require(task.min_distance <= layout.max_distance, "min_distance", task.min_distance,
          " is beyond the largest distance ", layout.max_distance, "; use at most that");
  // Each pair has a stretch of its own.
  const std::int64_t most = (layout.max_distance - layout.min_distance + w) / w;
  require(task.pairs <= most, "pairs", task.pairs, " pairs of ", w,
          " tokens do not fit at distances from ", layout.min_distance, " to ", layout.max_distance,
          "; use at most ", most);
  return problems;
}

}  // namespace shoal

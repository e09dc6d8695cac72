#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace shoal {

enum class TaskKind { kNeedle, kMqar, kCopy };

// A synthetic task that asks for something said earlier in the sequence, in bytes that can be read
// (^ is bos, filler is a-z and space, or a text):
//   needle   ^filler#KA=31filler#BX=07filler#KA=31   one of the pairs is asked for at the end
//   mqar     ^#K=3#B=0#X=9filler#X=9#K=3             pairs, then queries
//   copy     ^filler#QWERTY=QWERTY                   a string again
// Keys and strings are of A-Z, values of 0-9. What stands after the last '='s is the answer.
struct TaskConfig {
  TaskKind kind = TaskKind::kNeedle;
  std::int64_t pairs = 1;    // needle, mqar: of key and value; keys differ
  std::int64_t queries = 0;  // mqar: pairs that are asked for, each once; 0: all
  std::int64_t key_length = 2, value_length = 2;  // needle, mqar
  // needle: tokens between a pair and the query; 0 as the largest: what the sequence allows.
  std::int64_t min_distance = 0, max_distance = 0;
  std::int64_t length = 0;      // copy: of the string; 0: what the sequence allows
  std::string haystack;         // needle, mqar: a text file to take the filler from
  bool loss_on_answer = false;  // only the answer's tokens count in the loss
  std::int64_t episodes = 64;   // held-out ones to validate on

  bool operator==(const TaskConfig&) const = default;
};

const char* name_of(TaskKind kind);
// With the sizes that a task has when nothing is said.
TaskConfig default_task(TaskKind kind);

// One impossible value: its name, and "what is wrong; what would be right".
struct TaskProblem {
  std::string key, what;
};
// Of episodes that fill sequences of T rows; empty: nothing.
std::vector<TaskProblem> find_problems(const TaskConfig& task, std::int64_t T);

// What episodes of T rows are made of, in tokens; for a task without problems.
struct TaskLayout {
  std::int64_t block = 0;                           // #KEY=VALUE
  std::int64_t min_distance = 0, max_distance = 0;  // as they are
  std::int64_t queries = 0, length = 0;             // as they are
  std::int64_t answers = 0;                         // tokens to be given
};
TaskLayout layout_of(const TaskConfig& task, std::int64_t T);

// Keys that can be told apart: 26^length.
inline constexpr std::int64_t kKeyLetters = 26, kMaxKeyLength = 12;
std::int64_t count_keys(std::int64_t length);

}  // namespace shoal

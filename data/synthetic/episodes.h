#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "data/batch.h"
#include "data/synthetic/task.h"

namespace shoal {

// The episodes of a task, one for a sequence of T rows, in the byte tokenizer's ids. Episode i is a
// pure function of (seed, held out or not, i). What an episode asks (keys, values, places, not the
// filler) is hashed: an eighth of what there is to ask is held out and never trained on, for any
// seeds.
class Episodes {
 public:
  // Throws Error(kUsage) for a task with problems or with next to nothing to ask, Error(kData)
  // for a haystack that cannot be read.
  Episodes(const TaskConfig& task, std::int64_t T, std::uint64_t seed, bool held_out);

  // Rows b * T .. of a batch that has its size already; takes nothing from the heap.
  void fill(std::int64_t index, std::int64_t b, Batch& batch) const;

  const TaskConfig& task() const { return task_; }
  const std::string& haystack() const { return *haystack_; }  // its bytes; empty: letters
  Episodes with_length(std::int64_t T) const { return {*this, T}; }

 private:
  class Choices;
  Episodes(const Episodes& other, std::int64_t T);
  void require_possible() const;
  Choices choose(std::int64_t index) const;

  TaskConfig task_;
  TaskLayout layout_;
  std::int64_t T_;
  std::uint64_t seed_;
  bool held_out_;
  std::shared_ptr<const std::string> haystack_;
};

}  // namespace shoal

#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "train/checkpoint/store.h"

namespace shoal {

// States that a run can go back to: of step 0 (or where it was forked) and of every `every` steps.
// As many are kept as an onset `lookback` steps ago can ask for, most() of them.
//
// Which they are depends on the step alone, so that a run that was killed and resumed goes back to
// where it would have gone back to in peace. Therefore whoever saves a checkpoint stores first what
// is in memory alone; and the process that goes on from that checkpoint finds all of them. They
// lie in a store of their own beside the checkpoints, as checkpoints.
class Snapshots {
 public:
  // What is stored of steps up to `step` counts, where the run is.
  Snapshots(const CheckpointStore& store, std::int64_t every, std::int64_t lookback,
            std::int64_t step);

  static std::int64_t most(std::int64_t every, std::int64_t lookback) {
    return (lookback + every - 1) / every + 1;
  }

  // At every step, before it begins: is its state to be kept?
  bool is_due(std::int64_t step) const;
  void keep(LoadedState state);         // in memory
  void keep_stored(std::int64_t step);  // it lies in the store

  // The newest state from before the update that led to `onset`: of step onset - 2 or earlier,
  // since the loss of a step shows what the update before it did. Where there is none, that of
  // onset - 1; nothing if that is missing as well.
  std::optional<std::int64_t> before(std::int64_t onset) const;
  LoadedState state_of(std::int64_t step) const;  // Error(kData, kDisk): it cannot be read back

  // Calls store(state) for each that is in memory alone and older than `step`, ascending.
  void store_older(std::int64_t step, const std::function<void(LoadedState&)>& store);
  void forget_after(std::int64_t step);

  std::vector<std::int64_t> steps() const;  // ascending

 private:
  struct Entry {
    std::int64_t step = 0;
    std::optional<LoadedState> state = {};  // else it is in the store
    bool stored = false;
  };
  void add(Entry entry);

  const CheckpointStore& store_;
  std::int64_t every_, lookback_;
  std::vector<Entry> entries_;  // ascending steps
};

}  // namespace shoal

#include "train/stability/snapshots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temporary_folder.h"
#include "train/checkpoint/posix_io.h"

namespace shoal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

LoadedState state_at(std::int64_t step) {
  LoadedState state;
  state.step = step;
  std::vector<std::byte> bytes(sizeof step);
  std::memcpy(bytes.data(), &step, sizeof step);
  state.arrays = {{"/state/here", StateType::kI64, {}, bytes}};
  return state;
}

struct Disk {
  TemporaryFolder folder;
  PosixIo io;
  CheckpointStore store{io, folder / "snapshots"};

  void save(LoadedState& state) {
    StateView view = state.view();
    view.config = "run: {}";
    store.save(view, {}, 100);
  }
};

// As the trainer does it.
void run(Snapshots& snapshots, std::int64_t from, std::int64_t to) {
  for (std::int64_t step = from; step <= to; ++step) {
    if (snapshots.is_due(step)) snapshots.keep(state_at(step));
  }
}

TEST(Snapshots, KeepAsManyAsTheLookBackNeeds) {
  const Disk disk;
  for (const auto& [every, lookback] : {std::pair{50, 64}, {1, 1}, {7, 64}, {100, 10}, {5, 5}}) {
    Snapshots snapshots(disk.store, every, lookback, 0);
    for (std::int64_t step = 0; step <= 400; ++step) {
      if (snapshots.is_due(step)) snapshots.keep(state_at(step));
      EXPECT_LE(static_cast<std::int64_t>(snapshots.steps().size()),
                Snapshots::most(every, lookback));
      // The next step may find its onset anywhere in the look-back.
      for (std::int64_t onset = std::max<std::int64_t>(2, step + 2 - lookback); onset <= step + 1;
           ++onset) {
        EXPECT_EQ(snapshots.before(onset), (onset - 2) / every * every) << onset << " at " << step;
      }
    }
  }
}

TEST(Snapshots, TheBeginningServesWhereNothingIsOlder) {
  const Disk disk;
  Snapshots snapshots(disk.store, 10, 20, 33);
  EXPECT_EQ(snapshots.before(1), std::nullopt);
  run(snapshots, 33, 34);  // a fork: step 33 is none of every tenth
  EXPECT_THAT(snapshots.steps(), ElementsAre(33));
  EXPECT_EQ(snapshots.before(35), 33);
  EXPECT_EQ(snapshots.before(34), 33);
  EXPECT_EQ(snapshots.before(33), std::nullopt);
}

// Whatever the process that goes on finds on disk, it goes back to the same steps.
TEST(Snapshots, AResumedRunHasThoseOfAnUndisturbedOne) {
  for (std::int64_t saved = 1; saved < 60; saved += 6) {
    Disk disk;
    Snapshots before(disk.store, 8, 20, 0);
    for (std::int64_t step = 0; step <= saved; ++step) {
      if (step == saved || step % 13 == 0) {  // a checkpoint
        before.store_older(step, [&](LoadedState& state) { disk.save(state); });
      }
      if (before.is_due(step)) before.keep(state_at(step));
    }
    Snapshots after(disk.store, 8, 20, saved);
    if (after.is_due(saved)) after.keep(state_at(saved));
    EXPECT_EQ(after.steps(), before.steps()) << saved;
    for (const std::int64_t step : after.steps()) {
      EXPECT_EQ(after.state_of(step).arrays[0].bytes, state_at(step).arrays[0].bytes);
    }
  }
}

TEST(Snapshots, WhatComesAfterARollbackIsForgotten) {
  const Disk disk;
  Snapshots snapshots(disk.store, 5, 20, 0);
  run(snapshots, 0, 22);
  snapshots.forget_after(10);
  EXPECT_THAT(snapshots.steps(), ElementsAre(0, 5, 10));
  EXPECT_FALSE(snapshots.is_due(10));
  EXPECT_TRUE(snapshots.is_due(15));
  snapshots.forget_after(-1);
  EXPECT_THAT(snapshots.steps(), IsEmpty());
}

}  // namespace
}  // namespace shoal

// Crashes and failures at every single operation of a save: a later load finds exactly the new
// state or the one before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "autograd/base/check.h"
#include "tests/train/checkpoint/faulty_io.h"
#include "tests/train/checkpoint/small_state.h"
#include "train/checkpoint/reader.h"
#include "train/checkpoint/store.h"

namespace shoal {
namespace {

constexpr const char* kFolder = "/run/checkpoints";
const ManifestInfo kInfo{"shoal test", "data", "cpu", {}};

void save_step(FaultyIo& io, std::int64_t step, std::int64_t keep) {
  SmallState state(step);
  CheckpointStore(io, kFolder).save(state.view(), kInfo, keep);
}

// The state of another life at this step: same step, other numbers.
StateView other_life(SmallState& state, std::int64_t step) {
  state.set(step + 1000);
  StateView view = state.view();
  view.step = step;
  return view;
}

// A disk as it was before the save that is disturbed, that save, and what may be found later.
struct Scenario {
  std::string name;
  std::function<void(FaultyIo&)> before;
  std::function<void(FaultyIo&)> save;
  std::string previous;  // bits; "" for no checkpoint at all
  std::string next;
  std::string damaged = " ";  // the end of the names that are so from the start
};

std::vector<Scenario> scenarios() {
  SmallState other(0);
  const std::string other_bits = bits(other_life(other, 20));
  const auto empty = [](FaultyIo& io) { io.put("/run/config.yaml", "x"); };
  const auto two = [=](FaultyIo& io) {
    empty(io);
    save_step(io, 10, 3);
    save_step(io, 20, 3);
  };
  const auto second_damaged = [=](FaultyIo& io) {
    two(io);
    std::string bytes = io.bytes("/run/checkpoints/step-00000020/state.h5");
    bytes[700] ^= 4;
    io.put("/run/checkpoints/step-00000020/state.h5", bytes);
  };
  const auto save_other = [](FaultyIo& io) {
    SmallState state(0);
    CheckpointStore(io, kFolder).save(other_life(state, 20), kInfo, 3);
  };
  const std::string bad = "step-00000020";
  return {
      {"first", empty, [](FaultyIo& io) { save_step(io, 10, 3); }, "", bits_of_step(10)},
      {"third", two, [](FaultyIo& io) { save_step(io, 30, 3); }, bits_of_step(20),
       bits_of_step(30)},
      {"deletes one", two, [](FaultyIo& io) { save_step(io, 30, 2); }, bits_of_step(20),
       bits_of_step(30)},
      {"deletes all others", two, [](FaultyIo& io) { save_step(io, 30, 1); }, bits_of_step(20),
       bits_of_step(30)},
      {"again", two, [](FaultyIo& io) { save_step(io, 20, 1); }, bits_of_step(20),
       bits_of_step(20)},
      {"replaces", two, save_other, bits_of_step(20), other_bits},
      {"replaces the damaged", second_damaged, save_other, bits_of_step(10), other_bits, bad},
      {"steps back and goes on", second_damaged,
       [](FaultyIo& io) {
         SmallState state(0);
         StateView into = state.view();
         CheckpointStore store(io, kFolder);
         store.clean_leftovers();
         (void)store.load_newest(into);
         save_step(io, 15, 1);
       },
       bits_of_step(10), bits_of_step(15), bad},
  };
}

std::string newest_bits(FaultyIo& io) {
  const auto stored = CheckpointStore(io, kFolder).read_newest();
  if (!stored) return "";
  // Through the caller's arrays, as a run would.
  SmallState state(0);
  StateView into = state.view();
  copy_state(stored->state, into, "test");
  return bits(into);
}

// What must hold of a disk after any accident. Gives back whether the new state is there.
bool expect_sound(FaultyIo& io, const Scenario& scenario) {
  // A reader that does not clean up first, as `eval` of a run.
  const std::string found = newest_bits(io);
  EXPECT_TRUE(found == scenario.previous || found == scenario.next);
  for (const Found& checkpoint : CheckpointStore(io, kFolder).list()) {
    if (!checkpoint.path.ends_with(scenario.damaged)) {
      EXPECT_NO_THROW((void)read_checkpoint(io, checkpoint.path)) << checkpoint.path;
    }
  }
  return found == scenario.next;
}

void expect_goes_on(FaultyIo& io, const Scenario& scenario) {
  const std::string found = newest_bits(io);
  CheckpointStore store(io, kFolder);
  store.clean_leftovers();
  for (const std::string& path : io.all_files()) {
    EXPECT_THAT(path, testing::Not(testing::HasSubstr("/."))) << "left over";
  }
  EXPECT_EQ(newest_bits(io), found) << "cleaning changed what is found";
  EXPECT_NO_THROW(save_step(io, 40, 2)) << scenario.name;
  io.restart(Unsynced::kDropped);
  EXPECT_EQ(newest_bits(io), bits_of_step(40));
}

struct CrashKind {
  Unsynced unsynced;
  std::uint64_t seed;
};

std::vector<CrashKind> crash_kinds() {
  std::vector<CrashKind> kinds = {{Unsynced::kDropped, 0}, {Unsynced::kKept, 0}};
  for (std::uint64_t seed = 1; seed <= 4; ++seed) kinds.push_back({Unsynced::kScrambled, seed});
  return kinds;
}

TEST(Crash, AtEveryOperationOfASave) {
  int cases = 0;
  for (const Scenario& scenario : scenarios()) {
    FaultyIo disk;
    scenario.before(disk);
    for (const CrashKind& kind : crash_kinds()) {
      bool finished = false;
      for (int n = 0; !finished; ++n, ++cases) {
        FaultyIo io(disk);
        io.plan({Fault::Kind::kCrash, n});
        try {
          scenario.save(io);
          finished = true;
        } catch (const Crash&) {
        }
        SCOPED_TRACE(concat(scenario.name, ", crash at ", n, ": ", io.log().back(), ", unsynced ",
                            static_cast<int>(kind.unsynced), " seed ", kind.seed));
        ASSERT_EQ(io.struck(), !finished);
        io.restart(kind.unsynced, kind.seed + 1000 * static_cast<std::uint64_t>(n));
        const bool is_new = expect_sound(io, scenario);
        EXPECT_TRUE(is_new || !finished) << "a finished save did not last";
        expect_goes_on(io, scenario);
        if (HasFailure()) return;
      }
    }
  }
  RecordProperty("cases", cases);
  EXPECT_GT(cases, 1000);
}

TEST(Crash, TwiceAtEveryPairOfOperations) {
  // The second crash hits the restart: cleaning, and the save of the next life.
  for (const Scenario& scenario : scenarios()) {
    if (scenario.name != "replaces the damaged" && scenario.name != "deletes one") continue;
    FaultyIo disk;
    scenario.before(disk);
    bool first_finished = false;
    for (int n = 0; !first_finished; ++n) {
      FaultyIo crashed(disk);
      crashed.plan({Fault::Kind::kCrash, n});
      try {
        scenario.save(crashed);
        first_finished = true;
      } catch (const Crash&) {
      }
      const auto seed = static_cast<std::uint64_t>(1 + 1000 * n);
      crashed.restart(Unsynced::kScrambled, seed);
      bool second_finished = false;
      for (int m = 0; !second_finished; ++m) {
        FaultyIo io(crashed);
        io.plan({Fault::Kind::kCrash, m});
        try {
          CheckpointStore(io, kFolder).clean_leftovers();
          scenario.save(io);
          second_finished = true;
        } catch (const Crash&) {
        }
        SCOPED_TRACE(concat(scenario.name, ", crashes at ", n, " and ", m));
        io.restart(Unsynced::kScrambled, seed + static_cast<std::uint64_t>(m));
        const bool is_new = expect_sound(io, scenario);
        EXPECT_TRUE(is_new || !second_finished);
        if (HasFailure()) return;
      }
    }
  }
}

TEST(DiskFault, AtEveryOperationOfASave) {
  int failed = 0;
  for (const Scenario& scenario : scenarios()) {
    FaultyIo disk;
    scenario.before(disk);
    for (const int error : {ENOSPC, EIO}) {
      for (const bool forever : {false, true}) {
        for (const bool done_anyway : {false, true}) {
          bool reached = true;
          for (int n = 0; reached; ++n) {
            FaultyIo io(disk);
            io.plan({Fault::Kind::kFail, n, forever, error, done_anyway});
            bool saved = false;
            std::string what;
            try {
              scenario.save(io);
              saved = true;
            } catch (const Error& e) {
              what = e.what();
              // Reading both checkpoints back can fail too, in the scenario that loads.
              EXPECT_TRUE(e.why() == Failure::kDisk || e.why() == Failure::kData) << what;
              EXPECT_THAT(what, testing::HasSubstr("/run")) << "names no file";
              ++failed;
            }
            reached = io.struck();
            SCOPED_TRACE(concat(scenario.name, ", ", error, forever ? " from " : " at ", n,
                                done_anyway ? " (done anyway): " : ": ", what));
            io.plan({});
            const bool is_new = expect_sound(io, scenario);
            EXPECT_TRUE(is_new || !saved);
            if (!saved && !is_new) {
              EXPECT_EQ(newest_bits(io), scenario.previous);
            }
            // The machine may still crash right after the failure was reported.
            io.restart(Unsynced::kDropped);
            const bool lasts = expect_sound(io, scenario);
            EXPECT_TRUE(lasts || !saved) << "reported as saved, but lost";
            expect_goes_on(io, scenario);
            if (HasFailure()) return;
          }
        }
      }
    }
  }
  EXPECT_GT(failed, 500);
}

TEST(DiskFault, WhileLoadingNeverGivesWrongNumbers) {
  int stepped_back = 0;
  FaultyIo disk;
  disk.put("/run/config.yaml", "x");
  save_step(disk, 10, 3);
  save_step(disk, 20, 3);
  for (const bool forever : {false, true}) {
    bool reached = true;
    for (int n = 0; reached; ++n) {
      FaultyIo io(disk);
      io.plan({Fault::Kind::kFail, n, forever, EIO});
      SmallState state(0);
      StateView into = state.view();
      try {
        const auto report = CheckpointStore(io, kFolder).load_newest(into);
        ASSERT_TRUE(report);
        ASSERT_EQ(bits(into), bits_of_step(report->manifest.step));
        if (report->manifest.step == 10) {
          ++stepped_back;
          EXPECT_THAT(report->warnings, testing::ElementsAre(testing::HasSubstr("step-00000020"),
                                                             testing::HasSubstr("10 steps")));
        }
      } catch (const Error&) {
        EXPECT_EQ(bits(into), bits_of_step(0)) << "a failed load wrote something";
      }
      reached = io.struck();
    }
  }
  EXPECT_GT(stepped_back, 0);
}

TEST(DiskFault, ADiskThatKeepsOtherBytesIsNoticedBeforeTheOldOnesGo) {
  FaultyIo disk;
  disk.put("/run/config.yaml", "x");
  save_step(disk, 10, 1);
  int noticed = 0;
  bool reached = true;
  for (int n = 0; reached; ++n) {
    FaultyIo io(disk);
    io.plan({Fault::Kind::kSpoil, n});
    try {
      save_step(io, 20, 1);
      EXPECT_EQ(newest_bits(io), bits_of_step(20));
    } catch (const Error& error) {
      ++noticed;
      EXPECT_EQ(error.why(), Failure::kDisk);
      EXPECT_THAT(error.what(), testing::HasSubstr("cannot be read back"));
      EXPECT_EQ(newest_bits(io), bits_of_step(10));
    }
    reached = io.struck();
  }
  EXPECT_GT(noticed, 20) << "every piece of both files";
}

TEST(DiskFault, FullDiskIsSaidBeforeAndAfterItIsFull) {
  for (const bool tells : {true, false}) {
    FaultyIo io;
    io.put("/run/config.yaml", "x");
    save_step(io, 10, 3);
    io.capacity = 12 * 1024;  // one checkpoint and a bit
    io.tells_free_bytes = tells;
    try {
      save_step(io, 20, 3);
      FAIL() << "saved on a full disk";
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kDisk);
      EXPECT_THAT(error.what(), testing::HasSubstr(tells ? "no space" : "No space"));
    }
    EXPECT_EQ(io.all_files().size(), 3U) << "left-overs on a full disk";
    EXPECT_EQ(newest_bits(io), bits_of_step(10));
    io.capacity = 1 << 20;
    save_step(io, 20, 3);
    EXPECT_EQ(newest_bits(io), bits_of_step(20));
  }
}

}  // namespace
}  // namespace shoal

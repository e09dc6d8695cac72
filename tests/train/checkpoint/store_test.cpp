#include "train/checkpoint/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "autograd/base/check.h"
#include "tests/train/checkpoint/faulty_io.h"
#include "tests/train/checkpoint/small_state.h"

namespace shoal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Store : public testing::Test {
 protected:
  Store() { io.put("/run/config.yaml", "x"); }

  SaveReport save(std::int64_t step, std::int64_t keep = 3) {
    SmallState state(step);
    return store.save(state.view(), {"shoal test", "data", "cpu", {{"note", "1"}}}, keep);
  }
  std::vector<std::int64_t> steps() {
    std::vector<std::int64_t> all;
    for (const Found& found : store.list()) all.push_back(found.step);
    return all;
  }
  void damage(const std::string& path, std::size_t at) {
    std::string bytes = io.bytes(path);
    bytes.at(at) ^= 1;
    io.put(path, bytes);
  }
  template <class Call>
  std::string error_of(Failure why, Call call) {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), why) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
  }

  FaultyIo io;
  CheckpointStore store{io, "/run/checkpoints/"};
};

TEST_F(Store, GivesBackEveryBitAndTheManifest) {
  SmallState none(0);
  StateView into = none.view();
  EXPECT_FALSE(store.load_newest(into)) << "a run without a checkpoint starts at step 0";
  const SaveReport saved = save(100);
  EXPECT_EQ(saved.path, "/run/checkpoints/step-00000100");
  const auto loaded = store.load_newest(into);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(bits(into), bits_of_step(100));
  EXPECT_EQ(loaded->path, saved.path);
  EXPECT_EQ(loaded->manifest.step, 100);
  EXPECT_EQ(loaded->manifest.info.notes.at("note"), "1");
  EXPECT_THAT(loaded->warnings, testing::IsEmpty());
}

TEST_F(Store, KeepsTheNewestOnes) {
  for (const std::int64_t step : {5, 10, 15, 20}) save(step, 3);
  EXPECT_THAT(steps(), ElementsAre(20, 15, 10));
  save(25, 1);
  EXPECT_THAT(steps(), ElementsAre(25));
  EXPECT_EQ(io.all_files().size(), 3U);
}

TEST_F(Store, NeverDeletesTheOneItJustWrote) {
  save(20);
  save(30);
  save(10, 1);  // an earlier step, after going back
  EXPECT_THAT(steps(), ElementsAre(30, 20, 10));
}

TEST_F(Store, SavingTheSameStateAgainWritesNothing) {
  EXPECT_FALSE(save(10).was_there);
  io.plan({});
  EXPECT_TRUE(save(10).was_there);
  for (const std::string& operation : io.log()) EXPECT_THAT(operation, Not(HasSubstr("create")));
  damage("/run/checkpoints/step-00000010/state.h5", 99);
  EXPECT_FALSE(save(10).was_there) << "a damaged one is replaced";
  SmallState state(0);
  StateView into = state.view();
  store.load_newest(into);
  EXPECT_EQ(bits(into), bits_of_step(10));
}

TEST_F(Store, StepsBackAndSaysHowFar) {
  for (const std::int64_t step : {10, 20, 30}) save(step);
  const std::string longest = "/run/checkpoints/step-00000030/state.h5";
  io.put(longest, io.bytes(longest).substr(0, 1000));
  io.erase("/run/checkpoints/step-00000020/manifest.json");
  SmallState state(0);
  StateView into = state.view();
  const auto loaded = store.load_newest(into);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(bits(into), bits_of_step(10));
  EXPECT_THAT(
      loaded->warnings,
      ElementsAre(AllOf(HasSubstr("step-00000030/state.h5"), HasSubstr("is 1000 bytes")),
                  HasSubstr("step-00000020/manifest.json"), HasSubstr("20 steps are lost")));
}

TEST_F(Store, SaysSoWhenNothingCanBeUsed) {
  save(10);
  damage("/run/checkpoints/step-00000010/manifest.json", 30);
  SmallState state(0);
  StateView into = state.view();
  EXPECT_THAT(error_of(Failure::kData, [&] { store.load_newest(into); }),
              AllOf(HasSubstr("no checkpoint can be used"), HasSubstr("checksum")));
  EXPECT_EQ(bits(into), bits_of_step(0));
}

TEST_F(Store, LoadsAStepOnRequestAndNoOther) {
  for (const std::int64_t step : {10, 20, 30}) save(step);
  SmallState state(0);
  StateView into = state.view();
  store.load_newest(into, 20);
  EXPECT_EQ(bits(into), bits_of_step(20));
  EXPECT_THAT(error_of(Failure::kData, [&] { store.load_newest(into, 25); }), HasSubstr("step 25"));
  damage("/run/checkpoints/step-00000020/state.h5", 400);
  EXPECT_THAT(error_of(Failure::kData, [&] { store.load_newest(into, 20); }), HasSubstr("SHA-256"));
}

TEST_F(Store, GoingBackRemovesWhatComesAfter) {
  for (const std::int64_t step : {10, 20, 30}) save(step);
  EXPECT_THAT(store.discard_after(10),
              ElementsAre("/run/checkpoints/step-00000030", "/run/checkpoints/step-00000020"));
  EXPECT_THAT(steps(), ElementsAre(10));
  EXPECT_THAT(store.discard_after(10), ElementsAre());
}

TEST_F(Store, AWrongNameIsDamage) {
  save(10);
  io.put("/run/checkpoints/step-00000044/state.h5",
         io.bytes("/run/checkpoints/step-00000010/state.h5"));
  io.put("/run/checkpoints/step-00000044/manifest.json",
         io.bytes("/run/checkpoints/step-00000010/manifest.json"));
  SmallState state(0);
  StateView into = state.view();
  const auto loaded = store.load_newest(into);
  EXPECT_EQ(into.step, 10);
  EXPECT_THAT(loaded->warnings.at(0), HasSubstr("its name says 44"));
}

TEST_F(Store, OtherNamesAreNotCheckpoints) {
  for (const char* name :
       {"step-1", "step-0000001x", "step-000000001", "step-", "tmp-step-00000001", "step--0000001",
        ".tmp-step-00000001", ".trash-step-00000001", "step-99999999999999999999"}) {
    io.put(concat("/run/checkpoints/", name, "/x"), "x");
  }
  io.put("/run/checkpoints/step-00000007", "a file");
  EXPECT_THAT(steps(), ElementsAre());
  save(123456789);
  EXPECT_THAT(steps(), ElementsAre(123456789));
  store.clean_leftovers();
  EXPECT_EQ(io.all_files().size(), 1U + 7 + 1 + 2) << "only our own left-overs were removed";
}

TEST_F(Store, RefusesSickNumbers) {
  save(10);
  for (const char* where : {"/model/layers/0/attn/weight", "/optimizer/x/exp_avg", "/state/x"}) {
    for (const double bad :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
          -std::numeric_limits<double>::infinity()}) {
      std::vector<double> wide = {1, 2, bad};
      std::vector<float> narrow = {1, static_cast<float>(bad), 3};
      for (const StateArray& array : {StateArray{where, StateType::kF64, {3}, wide.data()},
                                      StateArray{where, StateType::kF32, {3}, narrow.data()}}) {
        StateView view;
        view.step = 20;
        view.arrays = {array};
        if (std::string(where).starts_with("/state")) {
          EXPECT_NO_THROW(store.save(view, {}, 5));
          EXPECT_THAT(steps(), ElementsAre(20, 10));
          remove_tree(io, "/run/checkpoints/step-00000020");
        } else {
          EXPECT_THAT(error_of(Failure::kNumbers, [&] { store.save(view, {}, 1); }),
                      HasSubstr(where));
          EXPECT_THAT(steps(), ElementsAre(10));
        }
      }
    }
  }
}

TEST_F(Store, ReadStoredTakesARunOrACheckpoint) {
  save(10);
  save(20);
  EXPECT_EQ(read_stored(io, "/run").state.step, 20);
  EXPECT_EQ(read_stored(io, "/run", 10).state.step, 10);
  EXPECT_EQ(read_stored(io, "/run/checkpoints/step-00000010").state.step, 10);
  io.put("/other/file", "x");
  error_of(Failure::kData, [&] { read_stored(io, "/other"); });
  error_of(Failure::kData, [&] { read_stored(io, "/nowhere"); });
}

}  // namespace
}  // namespace shoal

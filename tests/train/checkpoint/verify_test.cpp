#include "train/checkpoint/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/base/check.h"
#include "autograd/base/sha256.h"
#include "tests/train/checkpoint/faulty_io.h"
#include "tests/train/checkpoint/small_state.h"
#include "train/checkpoint/hdf5_image.h"
#include "train/checkpoint/store.h"

namespace shoal {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Verify : public testing::Test {
 protected:
  Verify() {
    io.put("/run/config.yaml", "x");
    for (const std::int64_t step : {10, 20}) {
      SmallState state(step);
      CheckpointStore(io, "/run/checkpoints").save(state.view(), {"shoal", "data", "cpu", {}}, 3);
    }
  }
  FaultyIo io;
};

TEST_F(Verify, TakesACheckpointARunOrItsFolder) {
  for (const char* path : {"/run", "/run/checkpoints", "/run/checkpoints/step-00000010"}) {
    EXPECT_TRUE(is_checkpoint_path(io, path)) << path;
    EXPECT_THAT(verify_checkpoint(io, path), IsEmpty()) << path;
  }
  io.put("/other/file", "x");
  io.put("/young/checkpoints/.tmp-step-00000001/state.h5", "x");
  io.put("/site/manifest.json", "{}");
  io.put("/step-by-step/file", "x");
  for (const char* path :
       {"/other", "/other/file", "/nowhere", "/young", "/site", "/step-by-step", ""}) {
    EXPECT_FALSE(is_checkpoint_path(io, path)) << path;
    EXPECT_THROW(verify_checkpoint(io, path), Error) << path;
    EXPECT_THROW(inspect_checkpoint(io, path), Error) << path;
  }
}

TEST_F(Verify, NamesEveryProblem) {
  io.put("/run/checkpoints/step-00000020/state.h5", "short");
  io.erase("/run/checkpoints/step-00000010/manifest.json");
  EXPECT_THAT(verify_checkpoint(io, "/run"),
              ElementsAre(HasSubstr("step-00000020/state.h5: is 5 bytes"),
                          HasSubstr("step-00000010/manifest.json")));
  EXPECT_THAT(verify_checkpoint(io, "/run/checkpoints/step-00000010/"),
              ElementsAre(HasSubstr("manifest.json")));
}

// A run at work makes room for newer checkpoints.
TEST_F(Verify, PassesOverWhatIsDeletedMeanwhile) {
  struct Deleting : FaultyIo {
    explicit Deleting(const FaultyIo& disk) : FaultyIo(disk) {}
    std::uint64_t size(const std::string& path) override {
      if (path.find("step-00000020") != path.npos) {
        remove_tree(*this, "/run/checkpoints/step-00000010");
      }
      return FaultyIo::size(path);
    }
  };
  Deleting verified(io), inspected(io);
  EXPECT_THAT(verify_checkpoint(verified, "/run"), IsEmpty());
  EXPECT_EQ(inspect_checkpoint(inspected, "/run").size(), 1U);
}

TEST_F(Verify, LooksBehindGoodHashes) {
  // Written by somebody who skips the store's own checks.
  const auto forge = [&](const StateView& view, std::int64_t step, const std::string& config) {
    const std::string image = build_image(view);
    Manifest manifest;
    manifest.step = step;
    manifest.tokens = view.tokens;
    manifest.config_sha256 = sha256_hex(config.data(), config.size());
    manifest.files = {{kStateName, image.size(), sha256_hex(image.data(), image.size())}};
    io.put("/forged/state.h5", image);
    io.put("/forged/manifest.json", manifest_text(manifest));
    return verify_checkpoint(io, "/forged");
  };
  SmallState state(30);
  StateView view = state.view();
  EXPECT_THAT(forge(view, 30, view.config), IsEmpty());
  EXPECT_THAT(forge(view, 31, view.config), ElementsAre(HasSubstr("is of step 30")));
  EXPECT_THAT(forge(view, 30, "other"), ElementsAre(HasSubstr("another config")));
  static_cast<float*>(view.arrays[1].data)[3] = NAN;
  EXPECT_THAT(forge(view, 30, view.config),
              ElementsAre(HasSubstr("/optimizer/layers/0/attn/weight/exp_avg has a NaN")));
}

TEST_F(Verify, InspectMeasuresWhatIsThere) {
  std::vector<float> x = {3, -4, 0, 0};
  std::vector<double> y = {INFINITY, -2, NAN};
  StateView view;
  view.step = 7;
  view.config = "a: 1\n";
  view.arrays = {{"/model/x", StateType::kF32, {2, 2}, x.data()},
                 {"/state/y", StateType::kF64, {3}, y.data()},
                 {"/state/z", StateType::kF64, {0}, nullptr}};
  io.put("/b/config.yaml", "x");
  CheckpointStore(io, "/b/checkpoints").save(view, {"shoal", "", "", {}}, 1);
  const auto tables = inspect_checkpoint(io, "/b");
  ASSERT_EQ(tables.size(), 1U);
  EXPECT_EQ(tables[0].manifest.step, 7);
  EXPECT_EQ(tables[0].config, "a: 1\n");
  ASSERT_EQ(tables[0].rows.size(), 3U);
  EXPECT_EQ(tables[0].rows[0].path, "/model/x");
  EXPECT_EQ(tables[0].rows[0].bytes, 16U);
  EXPECT_EQ(tables[0].rows[0].rms, 2.5);
  EXPECT_EQ(tables[0].rows[0].most, 4);
  EXPECT_EQ(tables[0].rows[1].rms, 2);
  EXPECT_EQ(tables[0].rows[1].not_finite, 2);
  EXPECT_EQ(tables[0].rows[2].bytes, 0U);
  EXPECT_EQ(inspect_checkpoint(io, "/run").size(), 2U);
}

}  // namespace
}  // namespace shoal

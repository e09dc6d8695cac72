#include "train/checkpoint/state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "autograd/base/check.h"
#include "tests/train/checkpoint/small_state.h"
#include "train/checkpoint/hdf5_image.h"

namespace shoal {
namespace {

using testing::AllOf;
using testing::HasSubstr;

LoadedState stored(std::int64_t step) {
  return parse_image(build_image(SmallState(step).view()), "x");
}

std::string error_of(const StateView& view) {
  StateView into = view;
  try {
    copy_state(stored(5), into, "runs/a/checkpoints/step-00000005");
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kData);
    EXPECT_THAT(error.what(), AllOf(testing::StartsWith("runs/a/checkpoints/step-00000005: "),
                                    HasSubstr("of another model")));
    return error.what();
  }
  return "";
}

TEST(CopyState, FillsEveryArray) {
  SmallState state(0);
  StateView into = state.view();
  copy_state(stored(5), into, "x");
  EXPECT_EQ(bits(into), bits_of_step(5));
}

TEST(CopyState, SaysTheExactDifferenceAndWritesNothing) {
  float spare[200] = {};
  const struct {
    void (*change)(std::vector<StateArray>&, float*);
    const char* error;
  } kCases[] = {
      {[](auto& arrays, float*) { arrays.erase(arrays.begin()); },
       "extra /model/layers/0/attn/weight f32 [9, 13]"},
      {[](auto& arrays, float* x) {
         arrays.push_back({"/model/new", StateType::kF32, {3}, x});
       },
       "missing /model/new f32 [3]"},
      {[](auto& arrays, float*) {
         arrays[0].shape = {13, 9};
       },
       "/model/layers/0/attn/weight is f32 [9, 13], this run needs f32 [13, 9]"},
      {[](auto& arrays, float*) { arrays[0].shape = {117}; }, "this run needs f32 [117]"},
      {[](auto& arrays, float*) { arrays[0].type = StateType::kI32; },
       "is f32 [9, 13], this run needs i32 [9, 13]"},
      {[](auto& arrays, float*) { arrays[4].shape = {1}; },
       "/state/data/position is i64 [], this run needs i64 [1]"},
      {[](auto& arrays, float*) {
         arrays[6].shape = {4, 0};
       },
       "[0, 4], this run needs f32 [4, 0]"},
      {[](auto& arrays, float*) { arrays[0].path = "/model/layers/1/attn/weight"; },
       "missing /model/layers/1/attn/weight f32 [9, 13]; extra /model/layers/0/attn/weight"},
  };
  for (const auto& c : kCases) {
    SmallState state(0);
    StateView into = state.view();
    c.change(into.arrays, spare);
    EXPECT_THAT(error_of(into), HasSubstr(c.error));
    EXPECT_EQ(bits(state.view()), bits_of_step(0)) << "a partial load";
  }
}

TEST(CopyState, LongListsAreCut) {
  std::vector<float> x(3);
  StateView into = SmallState(0).view();
  into.arrays.clear();
  for (int i = 0; i < 50; ++i) {
    into.arrays.push_back({"/model/a" + std::to_string(i), StateType::kF32, {3}, x.data()});
  }
  EXPECT_THAT(error_of(into),
              AllOf(HasSubstr("/model/a7"), Not(HasSubstr("/model/a8")), HasSubstr("and 49 more")));
}

TEST(CopyState, APartByItsFolder) {
  SmallState state(0);
  StateView into = state.view();
  into.arrays.resize(1);  // no optimizer, no state
  EXPECT_THROW(copy_state(stored(5), into, "x"), Error);
  copy_state(stored(5), into, "x", "/model/");
  SmallState five(5);
  EXPECT_EQ(std::memcmp(into.arrays[0].data, five.view().arrays[0].data, 9 * 13 * 4), 0);
  EXPECT_EQ(into.step, 5);
}

TEST(FirstNotFinite, LooksAtEveryPlace) {
  std::vector<float> x(37, 3e38F);
  const auto sick = [&] {
    return first_not_finite({{"/state/x", StateType::kF32, {37}, x.data()},
                             {"/model/n", StateType::kI32, {37}, x.data()},
                             {"/model/x", StateType::kF32, {37}, x.data()}});
  };
  EXPECT_EQ(sick(), "");
  for (float& place : x) {
    const float kept = place;
    place = -INFINITY;
    EXPECT_EQ(sick(), "/model/x");
    place = std::nanf("7");
    EXPECT_EQ(sick(), "/model/x");
    place = kept;
  }
}

}  // namespace
}  // namespace shoal

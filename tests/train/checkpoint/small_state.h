#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "autograd/base/rng.h"
#include "train/checkpoint/state.h"

namespace shoal {

// A run's state in 1.5 KB: every type, a single number, an empty array. Its values depend on the
// step alone.
class SmallState {
 public:
  explicit SmallState(std::int64_t step) { set(step); }

  void set(std::int64_t step) {
    step_ = step;
    const Rng rng(7, Purpose::kTest, static_cast<std::uint64_t>(step));
    std::uint64_t i = 0;
    for (float& x : weight_) x = static_cast<float>(rng.normal(i++));
    for (float& x : moment_) x = static_cast<float>(rng.normal(i++));
    for (double& x : window_) x = rng.normal(i++);
    for (std::int32_t& x : counts_) x = static_cast<std::int32_t>(rng.below(i++, 1000));
    position_ = step * 17;
    keys_ = {rng.bits(i), ~rng.bits(i + 1)};
    config_ = "run: {name: t}\nstep_of_test: " + std::to_string(step) + "\n";
  }

  StateView view() {
    using enum StateType;
    StateView view;
    view.arrays = {{"/model/layers/0/attn/weight", kF32, {9, 13}, weight_.data()},
                   {"/optimizer/layers/0/attn/weight/exp_avg", kF32, {9, 13}, moment_.data()},
                   {"/state/detector/window", kF64, {5}, window_.data()},
                   {"/state/router/counts", kI32, {2, 3, 2}, counts_.data()},
                   {"/state/data/position", kI64, {}, &position_},
                   {"/state/keys", kU64, {2}, keys_.data()},
                   {"/state/queue", kF32, {0, 4}, nullptr}};
    view.step = step_;
    view.tokens = step_ * 512;
    view.config = config_;
    return view;
  }

 private:
  std::int64_t step_ = 0;
  std::vector<float> weight_ = std::vector<float>(9 * 13), moment_ = weight_;
  std::vector<double> window_ = std::vector<double>(5);
  std::vector<std::int32_t> counts_ = std::vector<std::int32_t>(12);
  std::int64_t position_ = 0;
  std::vector<std::uint64_t> keys_ = {0, 0};
  std::string config_;
};

// Every bit of a state, for comparing.
inline std::string bits(const StateView& view) {
  std::string all = std::to_string(view.step) + "," + std::to_string(view.tokens) + view.config;
  for (const StateArray& array : view.arrays) {
    all += array.path + std::string(name_of(array.type)) + shape_text(array.shape);
    if (array.bytes() > 0) all.append(static_cast<const char*>(array.data), array.bytes());
  }
  return all;
}

inline std::string bits_of_step(std::int64_t step) { return bits(SmallState(step).view()); }

}  // namespace shoal

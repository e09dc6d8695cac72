#include <cmath>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "autograd/base/rng.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/linear.h"
#include "autograd/tape.h"

// A two-layer classifier learns to tell the largest of its inputs, by the engine's tape and plain
// gradient descent: what a program that uses only the library may want.
namespace {

constexpr std::int64_t kRows = 64, kInputs = 8, kHidden = 16;

struct Storage {
  explicit Storage(std::int64_t rows, std::int64_t cols, std::uint64_t seed)
      : value(static_cast<std::size_t>(rows * cols)), grad(value.size()) {
    const shoal::Rng rng(seed, shoal::Purpose::kTest);
    for (std::size_t i = 0; i < value.size(); ++i) {
      value[i] = 0.3F * static_cast<float>(rng.normal(i));
    }
    const shoal::Shape shape{rows, cols};
    param.value = {value.data(), shape};
    param.grad = {grad.data(), shape};
  }
  std::vector<float> value, grad;
  shoal::Param param;
};

}  // namespace

int main() {
  Storage hidden(kHidden, kInputs, 1), head(kInputs, kHidden, 2), data(kRows, kInputs, 3);
  std::vector<std::int32_t> largest(kRows);
  for (std::int64_t n = 0; n < kRows; ++n) {
    const float* x = data.param.value.row(n);
    for (std::int32_t c = 1; c < kInputs; ++c) {
      std::int32_t& best = largest[static_cast<std::size_t>(n)];
      if (x[c] > x[best]) best = c;
    }
  }
  const shoal::Tensor targets{largest.data(), {kRows}, shoal::DType::kI32};

  shoal::Tape tape;
  float first = 0.0F, last = 0.0F;
  for (int step = 0; step < 200; ++step) {
    const shoal::Tensor h = shoal::linear(tape, data.param.value, tape.leaf(hidden.param));
    const shoal::Tensor loss = shoal::cross_entropy(tape, h, tape.leaf(head.param), targets);
    last = *loss.as<float>() / kRows;
    if (step == 0) first = last;
    tape.backward(loss, 1.0F / kRows);
    for (Storage* weights : {&hidden, &head}) {
      for (std::size_t i = 0; i < weights->value.size(); ++i) {
        weights->value[i] -= 0.5F * weights->grad[i];
      }
    }
    tape.end_microbatch();
  }
  std::printf("shoal::shoal: loss %.3f before, %.3f after 200 steps\n", static_cast<double>(first),
              static_cast<double>(last));
  const bool began_at_chance = std::fabs(first - std::log(static_cast<float>(kInputs))) < 0.3F;
  return began_at_chance && last < 0.5F * first ? 0 : 1;
}

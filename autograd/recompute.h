#pragma once
#include "autograd/tape.h"

namespace shoal {

// Runs block(tape, x, y) and keeps only its outputs y; backward runs the block again: same bits as
// storing, for the memory of the block's inputs and outputs. Block is plain data (pointers into
// the model); every parameter it uses has entered the tape before (`leaf`), so that replaying adds
// none.
template <class Block>
struct Recompute {
  static constexpr std::string_view kName = "recompute";
  static constexpr int kMax = 4;
  struct Saved {
    Block block;
    std::array<Tensor, kMax> x, y;
    int inputs, outputs;
  };

  static void forward(Tape& tape, const Saved& s, Outputs) {
    const NoGrad off(tape);
    const Tape::Mark start = tape.mark();
    std::array<Tensor, kMax> inner = run(tape, s, s.x);
    for (int k = 0; k < s.outputs; ++k) copy(inner[k], s.y[k]);
    tape.rewind(start);
  }

  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    const Tape::Mark start = tape.mark();
    std::array<Tensor, kMax> x = s.x;
    for (int k = 0; k < s.inputs; ++k) x[k] = tape.alias(s.x[k], dx[k]);
    tape.replaying(true);
    const std::array<Tensor, kMax> inner = run(tape, s, x);
    for (int k = 0; k < s.outputs; ++k) tape.seed(inner[k], dy[k]);
    tape.walk_back(start.records);
    tape.replaying(false);
    for (int k = 0; k < s.inputs; ++k) {
      // No gradient reached this input: what overwrites must write zeros.
      if (dx[k] && dx[k].beta == 0.0F && !tape.has_grad(x[k])) {
        std::fill_n(dx[k].data(), s.x[k].shape.numel(), 0.0F);
      }
    }
    tape.rewind(start);
  }

 private:
  static std::array<Tensor, kMax> run(Tape& tape, const Saved& s,
                                      const std::array<Tensor, kMax>& x) {
    std::array<Tensor, kMax> y;
    s.block(tape, std::span<const Tensor>(x.data(), s.inputs),
            std::span<Tensor>(y.data(), s.outputs));
    for (int k = 0; k < s.outputs; ++k) {
      CHECK(y[k].shape == s.y[k].shape, "recompute: output ", k, " is ", y[k].shape, ", expected ",
            s.y[k].shape);
    }
    return y;
  }
  static void copy(const Tensor& from, const Tensor& to) {
    for_chunks(from.shape.numel(), [&](Range r) {
      std::copy(from.as<float>() + r.begin, from.as<float>() + r.end, to.as<float>() + r.begin);
    });
  }
};

// x: the block's inputs; y: on entry null tensors with the outputs' shapes, on return the outputs.
template <class Block>
void recompute(Tape& tape, const Block& block, std::span<const Tensor> x, std::span<Tensor> y) {
  using Op = Recompute<Block>;
  static_assert(std::is_trivially_copyable_v<Block>);
  CHECK(x.size() <= Op::kMax && y.size() <= Op::kMax && !x.empty() && !y.empty(),
        "recompute: 1 to ", Op::kMax, " tensors each way");
  typename Op::Saved saved{block, {}, {}, static_cast<int>(x.size()), static_cast<int>(y.size())};
  std::copy(x.begin(), x.end(), saved.x.begin());
  for (std::size_t k = 0; k < y.size(); ++k) y[k] = saved.y[k] = tape.alloc(y[k].shape);
  Tensor none;
  const auto in = [&](std::size_t k) { return k < x.size() ? x[k] : none; };
  const auto out = [&](std::size_t k) { return k < y.size() ? &y[k] : &none; };
  tape.apply<Op>(saved, {in(0), in(1), in(2), in(3)}, {out(0), out(1), out(2), out(3)});
}

}  // namespace shoal

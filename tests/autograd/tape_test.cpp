#include "autograd/tape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

#include "autograd/ops/attention.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/rms_norm.h"
#include "autograd/recompute.h"

namespace shoal {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr TapeConfig kSmall{1 << 26, 1 << 26};

// A parameter with memory of its own.
struct Owned {
  Owned(const char* name, Shape shape, float value)
      : values(static_cast<std::size_t>(shape.numel()), value),
        grads(values.size(), std::nanf("")) {  // what is never written must never be read
    param.name = name;
    param.value = {values.data(), shape, DType::kF32, kConstant};
    param.grad = {grads.data(), shape, DType::kF32, kConstant};
  }
  std::vector<float> values, grads;
  Param param;
};

// y = x^2 / 2 elementwise, for small graphs.
struct Square {
  static constexpr std::string_view kName = "test_square";
  struct Saved {
    Tensor x;
  };
  static void forward(Tape&, const Saved& s, Outputs y) {
    for (std::int64_t i = 0; i < s.x.shape.numel(); ++i) {
      y[0].as<float>()[i] = s.x.as<float>()[i] * s.x.as<float>()[i] / 2;
    }
  }
  static void backward(Tape&, const Saved& s, Cotangents dy, GradSlots dx) {
    write_grad(dx[0].data(), dx[0].beta, s.x.shape.numel(),
               [&](std::int64_t i) { return dy[0].as<float>()[i] * s.x.as<float>()[i]; });
  }
};
Tensor square(Tape& tape, Tensor x) {
  Tensor y = tape.alloc(x.shape);
  tape.apply<Square>({x}, {x}, {&y});
  return y;
}
Tensor sum2(Tape& tape, Tensor a, float wa, Tensor b, float wb) {
  const std::array<Term, 2> terms{Term{a, wa}, Term{b, wb}};
  return weighted_sum(tape, terms);
}

TEST(Tape, AValueUsedTwiceCollectsBothGradients) {
  Tape tape(kSmall);
  Owned p("p", {1}, 3.0F), unused("unused", {1}, 1.0F);
  const Tensor x = tape.leaf(p.param);
  tape.leaf(unused.param);
  const Tensor y = square(tape, x);                        // 4.5
  const Tensor z = sum2(tape, square(tape, y), 2, y, 10);  // y^2 + 10 y
  tape.backward(sum2(tape, z, 1, x, 100), 0.5F);
  EXPECT_EQ(p.grads[0], 0.5F * ((2 * 4.5F + 10) * 3 + 100));
  EXPECT_TRUE(p.param.grad_written);
  EXPECT_FALSE(unused.param.grad_written);
  EXPECT_TRUE(std::isnan(unused.grads[0]));
}

TEST(Tape, TheNextBackwardOverwrites) {
  Tape tape(kSmall);
  Owned p("p", {1}, 3.0F);
  for (int step = 0; step < 3; ++step) {
    const Tensor x = tape.leaf(p.param);
    EXPECT_EQ(tape.leaf(p.param).id, x.id);  // entering twice is entering once
    tape.backward(square(tape, x));
    EXPECT_EQ(p.grads[0], 3.0F);
    tape.end_microbatch();
    EXPECT_EQ(p.param.value.id, kConstant);
    EXPECT_EQ(tape.stats().records, 0U);
  }
}

TEST(Tape, NoGradRecordsNothing) {
  Tape tape(kSmall);
  Owned p("p", {1}, 3.0F);
  {
    const NoGrad off(tape);
    EXPECT_FALSE(tape.is_recording());
    const Tensor y = square(tape, square(tape, tape.leaf(p.param)));
    EXPECT_EQ(*y.as<float>(), 4.5F * 4.5F / 2);
    EXPECT_EQ(y.id, kConstant);
    EXPECT_EQ(tape.stats().records, 0U);
    EXPECT_EQ(tape.dump(), "");
    EXPECT_THROW(tape.backward(y), Error);
  }
  EXPECT_TRUE(tape.is_recording());
  const Tensor x = tape.leaf(p.param);
  {
    const NoGrad off(tape);  // of a value that is on the tape already
    EXPECT_EQ(square(tape, x).id, kConstant);
    EXPECT_EQ(tape.stats().records, 0U);
  }
  const Tensor y = square(tape, x);
  EXPECT_EQ(tape.stats().records, 1U);
  tape.backward(y);
  EXPECT_EQ(p.grads[0], 3.0F);
}

TEST(Tape, ConstantsAreNotRecorded) {
  Tape tape(kSmall);
  const Tensor c = tape.alloc({1});
  *c.as<float>() = 2.0F;
  EXPECT_EQ(*square(tape, c).as<float>(), 2.0F);
  EXPECT_EQ(tape.stats().records, 0U);
}

// Gradients of intermediate values are taken and given back: a long chain needs two at a time.
TEST(Tape, GradientMemoryIsReused) {
  Tape tape(kSmall);
  Owned p("p", {1000}, 1.0F), w("w", {1, 1000}, 1.0F);
  for (int step = 0; step < 2; ++step) {
    Tensor x = tape.leaf(p.param);
    x.shape = {1, 1000};
    for (int i = 0; i < 50; ++i) x = square(tape, x);
    tape.backward(linear(tape, x, tape.leaf(w.param)));
    tape.end_microbatch();
  }
  EXPECT_LE(tape.stats().grad_peak, 3U * 4096U);
}

// Batches of packed documents have gradients of other sizes every time: what the largest one takes
// is enough for all.
TEST(Tape, GradientMemoryDoesNotPileUpWhenSizesChange) {
  Tape tape(kSmall);
  const auto step = [&](std::int64_t size) {
    Owned p("p", {1, size}, 1.0F), w("w", {1, size}, 1.0F);
    Tensor x = tape.leaf(p.param);
    for (int i = 0; i < 5; ++i) x = square(tape, x);
    tape.backward(linear(tape, x, tape.leaf(w.param)));
    tape.end_microbatch();
  };
  step(1000);
  const std::size_t alone = tape.stats().grad_peak;
  for (std::int64_t size = 10; size <= 1000; size += 30) step(size);
  EXPECT_EQ(tape.stats().grad_peak, alone);
}

TEST(Tape, BackwardRefusesWhatIsNoLoss) {
  Tape tape(kSmall);
  Owned p("p", {2}, 3.0F);
  try {
    tape.backward(square(tape, tape.leaf(p.param)));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("scalar, got [2]"));
  }
}

TEST(Tape, DumpHasALineForEachRecord) {
  Tape tape(kSmall);
  Owned p("some.weight", {3, 4}, 1.0F), g("gain", {4}, 1.0F);
  const Tensor x = tape.alloc({5, 4});
  std::fill_n(x.as<float>(), 20, 1.0F);
  {
    const Label label(tape, "layers.7");
    Tensor y = linear(tape, rms_norm(tape, x, tape.leaf(g.param), 1e-6F), tape.leaf(p.param));
    EXPECT_EQ(tape.label(), "layers.7");
    y.shape = {15};
    square(tape, y);
  }
  EXPECT_EQ(tape.label(), "");
  const std::string dump = tape.dump();
  EXPECT_EQ(std::count(dump.begin(), dump.end(), '\n'), 3);
  EXPECT_EQ(tape.stats().records, 3U);
  EXPECT_THAT(
      dump,
      ContainsRegex("rms_norm layers.7 const gain\\[4\\] -> %[0-9]+\\[5, 4\\]  [0-9]+ bytes\n"));
  EXPECT_THAT(dump, ContainsRegex("linear layers.7 %[0-9]+\\[5, 4\\] some.weight\\[3, 4\\] -> "
                                  "%[0-9]+\\[5, 3\\]  64 bytes\n"));
  EXPECT_THAT(dump, HasSubstr("test_square layers.7 "));
}

TEST(Tape, ShapesThatDoNotFitAreBothNamed) {
  Tape tape(kSmall);
  const Tensor a = tape.alloc({5, 4}), b = tape.alloc({3, 7}), v = tape.alloc({6});
  const Tensor ids = tape.alloc({9}, DType::kI32);
  const auto complaint = [&](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kInternal);
      return error.what();
    }
    return "nothing";
  };
  EXPECT_THAT(complaint([&] { linear(tape, a, b); }),
              AllOf(HasSubstr("linear"), HasSubstr("[5, 4]"), HasSubstr("[3, 7]")));
  EXPECT_THAT(complaint([&] { add(tape, a, b); }),
              AllOf(HasSubstr("add"), HasSubstr("[5, 4]"), HasSubstr("[3, 7]")));
  EXPECT_THAT(complaint([&] { rms_norm(tape, a, v, 1e-6F); }),
              AllOf(HasSubstr("rms_norm"), HasSubstr("[5, 4]"), HasSubstr("[6]")));
  EXPECT_THAT(complaint([&] { cross_entropy(tape, a, b, ids); }),
              AllOf(HasSubstr("cross_entropy"), HasSubstr("[5, 4]"), HasSubstr("[9]")));
  EXPECT_THAT(complaint([&] { embedding(tape, v, ids, 1); }),
              AllOf(HasSubstr("embedding"), HasSubstr("[6]"), HasSubstr("[9]")));
  EXPECT_THAT(complaint([&] { attention(tape, a, b, v, ids, ids, {}, 4); }),
              AllOf(HasSubstr("attention"), HasSubstr("[5, 4]"), HasSubstr("[3, 7]")));
}

// The tracer names the first bad number, going forward and going back.

TEST(Tape, TracerNamesTheOpItsLabelAndTheRangesOfItsInputs) {
  Tape tape(kSmall);
  tape.trace_numbers(true);
  Owned p("p", {2}, 3.0F);
  p.values[1] = -2.0F;
  Tensor y = square(tape, tape.leaf(p.param));
  EXPECT_EQ(tape.first_bad_number(), "");
  const Label label(tape, "layers.3");
  y.as<float>()[0] = 1e30F;
  const Tensor z = square(tape, y);  // overflows at element 0
  square(tape, z);                   // later ones are not named
  EXPECT_EQ(tape.first_bad_number(),
            "forward of test_square in layers.3: output 0 [2] is not finite at element 0; "
            "input 0 in [2, 1e+30]");
}

TEST(Tape, TracerNamesTheGradient) {
  Tape tape(kSmall);
  Owned p("p", {1}, 3.0F);
  tape.trace_numbers(true);
  Tensor y;
  {
    const Label label(tape, "layers.5");
    y = square(tape, tape.leaf(p.param));
  }
  tape.backward(y, std::numeric_limits<float>::infinity());
  EXPECT_EQ(tape.first_bad_number(),
            "backward of test_square in layers.5: gradient of input 0 [1] is not finite at "
            "element 0");
}

// Recomputed blocks.

struct TwoSquares {  // y0 = (x0^2/2)^2/2 + x0, y1 = x1^2/2
  int* runs;
  void operator()(Tape& tape, std::span<const Tensor> x, std::span<Tensor> y) const {
    if (!tape.is_replaying()) ++*runs;
    y[0] = sum2(tape, square(tape, square(tape, x[0])), 1, x[0], 1);
    if (y.size() > 1) y[1] = square(tape, x[1]);
  }
};

TEST(Recompute, EqualsTheStoredBlock) {
  float want[2] = {}, loss[2] = {};
  for (const bool again : {false, true}) {
    Tape tape(kSmall);
    Owned p("p", {1}, 3.0F), q("q", {1}, 2.0F);
    int runs = 0;
    const TwoSquares block{&runs};
    const std::array<Tensor, 2> x{square(tape, tape.leaf(p.param)), tape.leaf(q.param)};
    std::array<Tensor, 2> y;
    y[0].shape = y[1].shape = {1};
    if (again) {
      recompute(tape, block, std::span<const Tensor>(x), std::span<Tensor>(y));
      EXPECT_EQ(tape.stats().records, 2U);
    } else {
      block(tape, x, y);
    }
    // x[0] is used once more after the block: its gradient comes from both.
    const Tensor total = sum2(tape, sum2(tape, y[0], 1, y[1], 3), 1, x[0], 7);
    tape.backward(total);
    EXPECT_EQ(runs, 1);  // side effects happen once
    EXPECT_FALSE(tape.is_replaying());
    if (!again) {
      want[0] = p.grads[0];
      want[1] = q.grads[0];
      loss[0] = *total.as<float>();
    } else {
      EXPECT_EQ(p.grads[0], want[0]);
      EXPECT_EQ(q.grads[0], want[1]);
      EXPECT_EQ(*total.as<float>(), loss[0]);
    }
  }
}

struct OneOfTwo {  // the second input goes nowhere
  void operator()(Tape& tape, std::span<const Tensor> x, std::span<Tensor> y) const {
    y[0] = square(tape, x[0]);
  }
};

TEST(Recompute, AnInputThatGoesNowhereGetsZeros) {
  Tape tape(kSmall);
  Owned p("p", {1}, 3.0F), q("q", {1}, 2.0F);
  // Leaves something other than zero in the memory of gradients.
  tape.backward(square(tape, square(tape, square(tape, tape.leaf(q.param)))));
  EXPECT_GT(q.grads[0], 0.0F);
  tape.end_microbatch();
  const std::array<Tensor, 2> x{tape.leaf(p.param), square(tape, tape.leaf(q.param))};
  std::array<Tensor, 1> y;
  y[0].shape = {1};
  recompute(tape, OneOfTwo{}, std::span<const Tensor>(x), std::span<Tensor>(y));
  tape.backward(y[0]);
  EXPECT_EQ(p.grads[0], 3.0F);
  EXPECT_EQ(q.grads[0], 0.0F);
}

struct SeesItsLabel {
  std::string* seen;
  void operator()(Tape& tape, std::span<const Tensor> x, std::span<Tensor> y) const {
    *seen += std::string(tape.label()) + ";";
    y[0] = square(tape, x[0]);
  }
};

TEST(Recompute, TheSecondRunHasTheLabelOfTheFirst) {
  Tape tape(kSmall);
  Owned p("p", {1}, 3.0F);
  std::string seen;
  const std::array<Tensor, 1> x{tape.leaf(p.param)};
  std::array<Tensor, 1> y;
  y[0].shape = {1};
  {
    const Label label(tape, "layers.2");
    recompute(tape, SeesItsLabel{&seen}, std::span<const Tensor>(x), std::span<Tensor>(y));
  }
  tape.backward(y[0]);
  EXPECT_EQ(seen, "layers.2;layers.2;");
  EXPECT_EQ(tape.label(), "");
}

struct LateLeaf {
  Param* param;
  void operator()(Tape& tape, std::span<const Tensor> x, std::span<Tensor> y) const {
    y[0] = sum2(tape, x[0], 1, tape.leaf(*param), 1);
  }
};

TEST(Recompute, AParameterThatEntersInsideIsRefused) {
  Tape tape(kSmall);
  Owned p("p", {1}, 3.0F), late("late", {1}, 2.0F);
  const std::array<Tensor, 1> x{tape.leaf(p.param)};
  std::array<Tensor, 1> y;
  y[0].shape = {1};
  recompute(tape, LateLeaf{&late.param}, std::span<const Tensor>(x), std::span<Tensor>(y));
  try {
    tape.backward(y[0]);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("parameter late must be used once before"));
  }
  tape.end_microbatch();  // and the tape works again
  EXPECT_FALSE(tape.is_replaying());
  tape.backward(square(tape, tape.leaf(p.param)));
  EXPECT_EQ(p.grads[0], 3.0F);
}

struct WrongShape {
  void operator()(Tape& tape, std::span<const Tensor> x, std::span<Tensor> y) const {
    y[0] = square(tape, x[0]);
  }
};

TEST(Recompute, AnotherShapeThanPromisedIsRefused) {
  Tape tape(kSmall);
  Owned p("p", {2}, 3.0F);
  const std::array<Tensor, 1> x{tape.leaf(p.param)};
  std::array<Tensor, 1> y;
  y[0].shape = {5};
  try {
    recompute(tape, WrongShape{}, std::span<const Tensor>(x), std::span<Tensor>(y));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("[2]"), HasSubstr("[5]")));
  }
  EXPECT_TRUE(tape.is_recording());
}

TEST(Parallel, ChunksCoverEverythingOnceInOrder) {
  for (const std::int64_t n : {0, 1, 31, 32, 33, 1000003}) {
    std::int64_t next = 0;
    for (int c = 0; c < kChunks; ++c) {
      const Range r = chunk_range(n, c);
      EXPECT_EQ(r.begin, next);
      EXPECT_LE(r.begin, r.end);
      next = r.end;
    }
    EXPECT_EQ(next, n);
  }
}

TEST(Parallel, OffMeansNothingRuns) {
  int runs = 0;
  {
    const ParallelOff off;
    const ParallelOff twice;
    EXPECT_TRUE(parallel_is_off());
    for_chunks(5, [&](Range) { ++runs; });
    for_tasks(5, [&](std::int64_t) { ++runs; });
  }
  EXPECT_EQ(runs, 0);
  EXPECT_FALSE(parallel_is_off());
}

}  // namespace
}  // namespace shoal

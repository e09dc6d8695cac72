#include "tests/autograd/gradcheck.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "autograd/base/parallel.h"

namespace shoal::testing {
namespace {

using ::testing::HasSubstr;

enum class Fault {
  kNone,
  kWrongFormula,
  kZeroGradient,
  kNoGradient,
  kFactorTwo,
  kNeverAdds,
  kNeverOverwrites,
  kSkipsLastElement,
  kReadsBeforeWriting,
  kForgetsSecondOutput,
  kNeedsBothSlots,
  kSecondSlotFirst,
  kOutputDependsOnThreads,
  kGradientDependsOnThreads,
  kChangesInput,
};

struct ToySaved {
  Tensor x, w;
};

// y0 = x * w, y1 = x + w^2, with one fault.
template <Fault kFault>
struct Toy {
  static constexpr std::string_view kName = "toy";
  using Saved = ToySaved;
  static void forward(Tape&, const Saved& s, Outputs y) {
    for (std::int64_t i = 0; i < s.x.shape.numel(); ++i) {
      const float x = s.x.as<float>()[i], w = s.w.as<float>()[i];
      y[0].as<float>()[i] = x * w;
      y[1].as<float>()[i] = x + w * w;
      if (kFault == Fault::kWrongFormula) y[1].as<float>()[i] += 1e-3F * x;
      if (kFault == Fault::kOutputDependsOnThreads && thread_count() == 3) {
        y[0].as<float>()[i] *= 1 + 1e-7F;
      }
    }
    if (kFault == Fault::kChangesInput) s.x.as<float>()[0] += 1e-6F;
  }
  static void backward(Tape&, const Saved& s, Cotangents dy, GradSlots dx) {
    if (kFault == Fault::kNoGradient) return;
    if (kFault == Fault::kNeedsBothSlots && !(dx[0] && dx[1])) return;
    std::int64_t n = s.x.shape.numel();
    if (kFault == Fault::kSkipsLastElement) --n;
    const auto cotangent = [&](std::size_t k, std::int64_t i) {
      if (kFault == Fault::kForgetsSecondOutput && k == 1 && dy[0].data != nullptr) return 0.0F;
      return dy[k].data == nullptr ? 0.0F : dy[k].as<float>()[i];
    };
    const auto write = [&](std::size_t slot, const auto& value) {
      if (!dx[slot]) return;
      float beta = dx[slot].beta;
      if (kFault == Fault::kNeverAdds) beta = 0;
      if (kFault == Fault::kNeverOverwrites) beta = 1;
      float factor = kFault == Fault::kFactorTwo ? 2.0F : 1.0F;
      if (kFault == Fault::kZeroGradient) factor = 0;
      if (kFault == Fault::kGradientDependsOnThreads && thread_count() == 2) factor += 1e-6F;
      if (kFault == Fault::kReadsBeforeWriting) factor += 0 * dx[slot].data()[0];
      write_grad(dx[slot].data(), beta, n, [&](std::int64_t i) { return factor * value(i); });
    };
    const auto write_w = [&] {
      write(1, [&](std::int64_t i) {
        return cotangent(0, i) * s.x.as<float>()[i] + 2 * cotangent(1, i) * s.w.as<float>()[i];
      });
    };
    if (kFault == Fault::kSecondSlotFirst) write_w();
    write(0,
          [&](std::int64_t i) { return cotangent(0, i) * s.w.as<float>()[i] + cotangent(1, i); });
    if (kFault != Fault::kSecondSlotFirst) write_w();
  }
};

template <Fault kFault>
GradCase toy(Shape shape = {3, 5}) {
  return {.name = "toy",
          .inputs = {shape, shape},
          .op =
              [](Tape& tape, const std::vector<Tensor>& in) {
                Tensor y0 = tape.alloc(in[0].shape), y1 = tape.alloc(in[0].shape);
                tape.apply<Toy<kFault>>({in[0], in[1]}, {in[0], in[1]}, {&y0, &y1});
                return std::vector<Tensor>{y0, y1};
              },
          .reference =
              [](const std::vector<Doubles>& in) {
                std::vector<Doubles> y(2, in[0]);
                for (std::size_t i = 0; i < in[0].size(); ++i) {
                  y[0][i] = in[0][i] * in[1][i];
                  y[1][i] = in[0][i] + in[1][i] * in[1][i];
                }
                return y;
              }};
}

TEST(GradCheck, AcceptsACorrectOp) {
  EXPECT_GRADIENTS(toy<Fault::kNone>());
  EXPECT_GRADIENTS(toy<Fault::kNone>({1}));
  EXPECT_GRADIENTS(toy<Fault::kNone>({2, 1, 3, 7}));
  GradCase one_constant = toy<Fault::kNone>();
  one_constant.constants = {1};
  EXPECT_GRADIENTS(one_constant);
}

TEST(GradCheck, SeesEveryFault) {
  EXPECT_THAT(gradient_problem(toy<Fault::kWrongFormula>()), HasSubstr("output 1"));
  EXPECT_THAT(gradient_problem(toy<Fault::kZeroGradient>()), HasSubstr("gradient of input 0[0]"));
  EXPECT_THAT(gradient_problem(toy<Fault::kNoGradient>()), HasSubstr("= nan"));
  EXPECT_THAT(gradient_problem(toy<Fault::kFactorTwo>()), HasSubstr("gradient of input 0[0]"));
  EXPECT_THAT(gradient_problem(toy<Fault::kNeverAdds>()), HasSubstr("after two uses"));
  EXPECT_THAT(gradient_problem(toy<Fault::kNeverOverwrites>()), HasSubstr("= nan"));
  EXPECT_THAT(gradient_problem(toy<Fault::kReadsBeforeWriting>()), HasSubstr("= nan"));
  EXPECT_THAT(gradient_problem(toy<Fault::kSkipsLastElement>()), HasSubstr("[14] = nan"));
  EXPECT_THAT(gradient_problem(toy<Fault::kForgetsSecondOutput>()), HasSubstr("gradient"));
  EXPECT_THAT(gradient_problem(toy<Fault::kNeedsBothSlots>()), HasSubstr("as the only one"));
  EXPECT_THAT(gradient_problem(toy<Fault::kSecondSlotFirst>()), HasSubstr("one tensor as"));
  EXPECT_THAT(gradient_problem(toy<Fault::kOutputDependsOnThreads>()),
              HasSubstr("output has other bits with 3"));
  EXPECT_THAT(gradient_problem(toy<Fault::kGradientDependsOnThreads>()),
              HasSubstr("gradient has other bits with 2"));
  EXPECT_THAT(gradient_problem(toy<Fault::kChangesInput>()), HasSubstr("changes its input 0"));
}

TEST(GradCheck, SeesAWrongReference) {
  GradCase c = toy<Fault::kNone>();
  c.reference = [right = c.reference](const std::vector<Doubles>& in) {
    std::vector<Doubles> y = right(in);
    y.pop_back();
    return y;
  };
  EXPECT_THAT(gradient_problem(c), HasSubstr("gives 2 outputs, the reference 1"));
  c.op = [](Tape&, const std::vector<Tensor>&) -> std::vector<Tensor> { throw Error("no"); };
  EXPECT_THAT(gradient_problem(c), HasSubstr("threw: no"));
}

TEST(GradCheck, RestoresTheThreadCount) {
  const int before = thread_count();
  set_thread_count(5);
  EXPECT_EQ(gradient_problem(toy<Fault::kNone>()), "");
  EXPECT_EQ(thread_count(), 5);
  set_thread_count(before);
}

TEST(FiniteDifferences, AreExactForSmoothFunctionsAndRefuseKinks) {
  GradCase c{.name = "f", .inputs = {{3}}, .op = nullptr, .reference = nullptr};
  const std::vector<Doubles> at{{0.5, -2.0, 30.0}};
  c.reference = [](const std::vector<Doubles>& in) {
    std::vector<Doubles> y(1);
    for (const double x : in[0]) y[0].push_back(std::sin(x) + x * x * x);
    return y;
  };
  const Doubles slope = finite_differences(c, at, 0, {{{1, 2, -3}}})[0];
  const Doubles r{1, 2, -3};
  for (std::size_t i = 0; i < 3; ++i) {
    const double want = r[i] * (std::cos(at[0][i]) + 3 * at[0][i] * at[0][i]);
    EXPECT_NEAR(slope[i], want, 1e-9 * std::abs(want));
  }
  // A kink 1e-5 away is stepped around; one that is nearer than the smallest step cannot be.
  for (const double kink : {0.5 + 1e-5, 0.5 + 5e-8}) {
    c.reference = [kink](const std::vector<Doubles>& in) {
      return std::vector<Doubles>{{std::max(in[0][0], kink)}};
    };
    if (kink > 0.5 + 1e-6) {
      EXPECT_NEAR(finite_differences(c, {{0.5}}, 0, {{{1}}})[0][0], 0.0, 1e-12);
    } else {
      EXPECT_THROW(finite_differences(c, {{0.5}}, 0, {{{1}}}), Error);
    }
  }
}

TEST(RecordedOps, AreThoseOnTheTape) {
  EXPECT_EQ(recorded_ops(toy<Fault::kNone>()), std::set<std::string>{"toy"});
}

}  // namespace
}  // namespace shoal::testing

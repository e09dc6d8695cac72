// Another objective needs no change of the model, the step or the trainer.
#include "layers/objective/objective.h"

#include <gtest/gtest.h>

#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementwise.h"
#include "layers/objective/next_token.h"
#include "tests/support/step_plan.h"
#include "tests/support/tiny_model.h"
#include "train/step/step_runner.h"

namespace shoal::testing {
namespace {

// The token before, from the same hidden states; no MTP, no balance.
class TokenBefore final : public Objective {
 public:
  Loss loss(Tape& tape, Model& model, Hidden& hidden, const LossWeights&,
            const StepCounts& of_step) const override {
    const BatchTensors& batch = *hidden.input.batch;
    const std::int64_t N = batch.tokens.shape.numel();
    const Tensor before = tape.alloc({N}, DType::kI32);
    for (std::int64_t n = 0; n < N; ++n) {
      const bool first = batch.position.as<std::int32_t>()[n] == 0;
      before.as<std::int32_t>()[n] = first ? -1 : batch.tokens.as<std::int32_t>()[n - 1];
    }
    Loss loss;
    loss.sums.ce = cross_entropy(tape, model.head_input(tape, hidden.X), model.head(), before);
    const float weight = 1.0F / static_cast<float>(of_step.targets);
    const std::array<Term, 1> terms{Term{loss.sums.ce, weight}};
    loss.total = weighted_sum(tape, terms);
    return loss;
  }
};

TEST(Objective, AnotherOneTrains) {
  const auto model = random_model(tiny_config());
  Tape tape;
  const TokenBefore objective;
  StepRunner runner(*model, tape, StepRunner::Options{}, objective);
  const Batch batch = pack(24, {{random_document(20, 23, 1)}});
  double first = 0.0, last = 0.0;
  for (int step = 1; step <= 40; ++step) {
    const StepOutcome out = runner.step({&batch, 1}, step_plan({}, step, 4e-3));
    ASSERT_TRUE(out.updated);
    EXPECT_EQ(out.loss(), out.parts.ce);
    (step == 1 ? first : last) = out.loss();
  }
  EXPECT_LT(last, 0.8 * first);
  // The MTP block did not run: its router counted nothing.
  EXPECT_EQ(runner.stats().back().load, std::vector<std::int64_t>(5, 0));
}

TEST(Objective, TheDefaultIsTheNextToken) {
  const NextToken next_token;
  const Batch batch = pack(24, {{random_document(20, 23, 1)}});
  std::vector<double> losses;
  for (const bool named : {false, true}) {
    const auto model = random_model(tiny_config());
    Tape tape;
    const auto runner =
        named ? std::make_unique<StepRunner>(*model, tape, StepRunner::Options{}, next_token)
              : std::make_unique<StepRunner>(*model, tape, StepRunner::Options{});
    losses.push_back(runner->gradients({&batch, 1}, step_plan()).loss());
  }
  EXPECT_EQ(losses[0], losses[1]);
}

}  // namespace
}  // namespace shoal::testing

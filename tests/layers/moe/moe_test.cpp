// Which experts a learned router chooses, what it weighs them with, and what counts.
#include "layers/moe/moe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "autograd/ops/router.h"
#include "layers/statistics.h"
#include "tests/support/tiny_model.h"

namespace shoal::testing {
namespace {

using ::testing::ElementsAre;

struct Chosen {
  std::vector<std::int32_t> experts;
  std::vector<float> gates;
  float balance = 0.0F;
};

Tensor tensor(Tape& tape, const std::vector<float>& values, Shape shape) {
  const Tensor t = tape.alloc(shape);
  std::copy(values.begin(), values.end(), t.as<float>());
  return t;
}

Chosen choose(const std::vector<float>& logits, const std::vector<float>& bias, std::int64_t K,
              RouterFunction score = RouterFunction::kSqrtSoftplus,
              std::vector<std::int32_t> valid = {}, std::int64_t B = 1) {
  Tape tape({1 << 20, 1 << 20});
  const auto E = static_cast<std::int64_t>(bias.size());
  const std::int64_t N = static_cast<std::int64_t>(logits.size()) / E;
  if (valid.empty()) valid.assign(static_cast<std::size_t>(N), 1);
  const Tensor v = tape.alloc({N}, DType::kI32);
  std::copy(valid.begin(), valid.end(), v.as<std::int32_t>());
  const Tensor l = tensor(tape, logits, {N, E}), scores = router_scores(tape, l, score);
  const Tensor ids = choose_experts(tape, scores, tensor(tape, bias, {E}), K);
  const Gates g = weigh_experts(tape, l, scores, ids, v, B, {score, 1.5F, true, true});
  return {{ids.as<std::int32_t>(), ids.as<std::int32_t>() + N * K},
          {g.gates.as<float>(), g.gates.as<float>() + N * K},
          *g.balance.as<float>()};
}

TEST(Routing, TiesGoToTheLowerIndex) {
  for (const RouterFunction f :
       {RouterFunction::kSqrtSoftplus, RouterFunction::kSigmoid, RouterFunction::kSoftmax}) {
    EXPECT_THAT(choose({1, 1, 1, 1, 1}, {0, 0, 0, 0, 0}, 3, f).experts, ElementsAre(0, 1, 2));
    EXPECT_THAT(choose({0, 2, 1, 2, 1}, {0, 0, 0, 0, 0}, 3, f).experts, ElementsAre(1, 3, 2));
    EXPECT_THAT(choose({-1, -1, 0, -1, 0}, {0, 0, 0, 0, 0}, 4, f).experts, ElementsAre(2, 4, 0, 1));
    EXPECT_THAT(choose({3, 3}, {0, 0}, 2, f).experts, ElementsAre(0, 1));
  }
  // Equal only once the bias is added: 0.5 + 0.5 and 1 + 0.
  EXPECT_THAT(choose({0, 100}, {0.5F, 0}, 1, RouterFunction::kSigmoid).experts, ElementsAre(0));
  EXPECT_THAT(choose({100, 0}, {0, 0.5F}, 1, RouterFunction::kSigmoid).experts, ElementsAre(0));
  // Dead scores are exact zeros.
  EXPECT_THAT(choose({-1000, -900, -2000}, {0, 0, 0}, 2).experts, ElementsAre(0, 1));
  EXPECT_THAT(choose({-1000, -900, -2000}, {0, 0, -0.0F}, 2).experts, ElementsAre(0, 1));
}

TEST(Routing, TheBiasMovesTheChoiceAndNotTheGates) {
  const std::vector<float> logits{0.3F, 1.2F, -0.4F, 0.9F};
  const Chosen plain = choose(logits, {0, 0, 0, 0}, 2);
  EXPECT_THAT(plain.experts, ElementsAre(1, 3));
  const Chosen same = choose(logits, {0.05F, 0.1F, -0.5F, 0.2F}, 2);
  EXPECT_THAT(same.experts, ::testing::UnorderedElementsAre(1, 3));
  const auto gate_of = [](const Chosen& c, std::int32_t e) {
    return c.gates[static_cast<std::size_t>(std::find(c.experts.begin(), c.experts.end(), e) -
                                            c.experts.begin())];
  };
  EXPECT_EQ(gate_of(plain, 1), gate_of(same, 1));
  EXPECT_EQ(gate_of(plain, 3), gate_of(same, 3));
  const Chosen moved = choose(logits, {0, 0, 5.0F, 0}, 2);
  EXPECT_THAT(moved.experts, ElementsAre(2, 1));
  const auto s = [&](std::size_t e) { return std::sqrt(std::log1p(std::exp(logits[e]))); };
  EXPECT_NEAR(moved.gates[0], 1.5 * s(2) / (s(1) + s(2)), 1e-6);
  EXPECT_NEAR(moved.gates[1], 1.5 * s(1) / (s(1) + s(2)), 1e-6);
}

// Every expert chosen equally often and scored equally: sum_i f_i Pbar_i = 1, the loss is alpha.
TEST(Routing, ABalancedSequenceCostsAlpha) {
  constexpr std::int64_t E = 6, K = 2;
  std::vector<float> logits;
  for (std::int64_t t = 0; t < E; ++t) {
    for (std::int64_t e = 0; e < E; ++e) {
      logits.push_back(e == t || e == (t + 1) % E ? 1.0F : -1.0F);
    }
  }
  EXPECT_NEAR(choose(logits, std::vector<float>(E, 0.0F), K).balance, 1.0F, 1e-6);
  // All tokens alike: the two chosen take more than their share.
  const std::vector<float> one{1.0F, 1.0F, -1.0F, -1.0F, -1.0F, -1.0F};
  std::vector<float> same;
  for (std::int64_t t = 0; t < E; ++t) same.insert(same.end(), one.begin(), one.end());
  EXPECT_GT(choose(same, std::vector<float>(E, 0.0F), K).balance, 1.3F);
  // Two sequences: the sum; each is judged alone, however the batch as a whole is balanced.
  std::vector<float> both = logits;
  both.insert(both.end(), same.begin(), same.end());
  EXPECT_NEAR(
      choose(both, std::vector<float>(E, 0.0F), K, RouterFunction::kSqrtSoftplus, {}, 2).balance,
      1.0F + choose(same, std::vector<float>(E, 0.0F), K).balance, 1e-6);
}

TEST(Routing, PaddingIsNoPartOfTheBalance) {
  const std::vector<float> logits{1, 2, 3, 3, 1, 2};
  std::vector<float> padded = logits;
  padded.insert(padded.end(), {9, -9, -9, 9, -9, -9});
  const std::vector<float> bias(3, 0.0F);
  const float want = choose(logits, bias, 1).balance;
  EXPECT_EQ(choose(padded, bias, 1, RouterFunction::kSqrtSoftplus, {1, 1, 0, 0}).balance, want);
  // A sequence of padding alone costs nothing.
  EXPECT_EQ(choose(padded, bias, 1, RouterFunction::kSqrtSoftplus, {1, 1, 0, 0}, 2).balance, want);
}

TEST(Moe, LoadsCountEveryTokenThatIsNoPadding) {
  const ModelConfig config = tiny_config();
  const auto model = random_model(config);
  Tape tape({1 << 28, 1 << 28});
  std::vector<float> grads(static_cast<std::size_t>(model->store().flat_size()));
  model->store().bind_grads(grads.data());
  ModelStats stats = make_stats(*model);
  const Batch batch = pack(40, {{random_document(13, 23, 1)}, {random_document(20, 23, 2)}});
  for (int call = 1; call <= 2; ++call) {
    Hidden hidden = model->forward(tape, batch, {});
    model->forward_mtp(tape, hidden);
    add(stats, hidden);
    tape.end_microbatch();
    ASSERT_EQ(stats.size(), 3U);
    for (const BlockStats& s : stats) {
      EXPECT_EQ(std::accumulate(s.load.begin(), s.load.end(), std::int64_t{0}), call * 33 * 2);
    }
  }
  // The hash layer's, counted by hand from its table; MTP looks up nothing.
  std::vector<std::int64_t> want(5, 0);
  const auto* table = model->blocks()[0].feed_forward().table()->value.as<std::int32_t>();
  for (std::size_t n = 0; n < batch.tokens.size(); ++n) {
    for (int k = 0; k < 2 && batch.targets[n] >= 0; ++k) {
      want[static_cast<std::size_t>(table[2 * batch.tokens[n] + k])] += 2;
    }
  }
  EXPECT_EQ(stats[0].load, want);
}

}  // namespace
}  // namespace shoal::testing

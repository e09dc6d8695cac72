#include "train/generate/token_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "autograd/base/rng.h"

namespace shoal {
namespace {

std::vector<float> random_logits(std::size_t V, std::uint64_t seed) {
  const Rng rng(seed, Purpose::kTest);
  std::vector<float> logits(V);
  // Few different values: many ties.
  for (std::size_t v = 0; v < V; ++v) logits[v] = 0.25F * std::round(8.0F * rng.normal(v));
  return logits;
}

// All in order first, and no memory kept.
std::int32_t plain_draw(const std::vector<float>& logits, const Sampling& how, double u) {
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto at = [&](std::int32_t v) { return double{logits[static_cast<std::size_t>(v)]}; };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return at(a) > at(b); });
  if (how.temperature == 0.0) return order[0];
  const auto p = [&](std::int32_t v) { return std::exp((at(v) - at(order[0])) / how.temperature); };
  if (how.top_k > 0 && how.top_k < static_cast<std::int64_t>(order.size())) {
    order.resize(static_cast<std::size_t>(how.top_k));
  }
  double all = 0.0, kept = 0.0;
  for (const std::int32_t v : order) all += p(v);
  std::size_t count = 0;
  while (count < order.size() && (count == 0 || kept < how.top_p * all)) kept += p(order[count++]);
  double left = u * kept;
  for (std::size_t i = 0; i < count; ++i) {
    left -= p(order[i]);
    if (left < 0.0) return order[i];
  }
  return order[count - 1];
}

TEST(TokenSampler, DrawsAsIfAllTokensWereInOrder) {
  const Rng rng(5, Purpose::kTest);
  std::uint64_t draw = 0;
  for (const std::size_t V : {1, 2, 63, 64, 65, 258, 5000}) {
    const std::vector<float> logits = random_logits(V, V);
    for (const double temperature : {0.0, 0.3, 1.0, 5.0}) {
      for (const std::int64_t top_k : {0, 1, 3, 64, 70, 100000}) {
        for (const double top_p : {1.0, 0.9, 0.1, 1e-9}) {
          TokenSampler sampler({temperature, top_k, top_p});
          for (int i = 0; i < 8; ++i) {
            const double u = rng.uniform(draw++);
            ASSERT_EQ(sampler.draw(logits, u), plain_draw(logits, {temperature, top_k, top_p}, u))
                << V << " tokens at " << temperature << ", " << top_k << ", " << top_p;
          }
        }
      }
    }
  }
}

TEST(TokenSampler, FrequenciesAreThoseOfTheSoftmax) {
  const std::vector<float> logits = {0.0F, 1.0F, -1.0F, 0.5F};
  TokenSampler sampler({1.0, 3, 1.0});  // without token 2
  const Rng rng(6, Purpose::kTest);
  std::vector<double> share(4);
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) {
    share[static_cast<std::size_t>(
        sampler.draw(logits, rng.uniform(static_cast<std::uint64_t>(i))))] += 1.0 / kDraws;
  }
  const double total = 1.0 + std::exp(1.0) + std::exp(0.5);
  EXPECT_NEAR(share[0], 1.0 / total, 0.01);
  EXPECT_NEAR(share[1], std::exp(1.0) / total, 0.01);
  EXPECT_EQ(share[2], 0.0);
  EXPECT_NEAR(share[3], std::exp(0.5) / total, 0.01);
}

TEST(TokenSampler, NeverDrawsWhatIsNoNumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const double temperature : {0.0, 1.0}) {
    TokenSampler sampler({temperature, 0, 1.0});
    for (const double u : {0.0, 0.5, 0.999}) {
      EXPECT_EQ(sampler.draw(std::vector<float>{nan, -inf, 1.0F, nan}, u), 2);
      const std::int32_t any = sampler.draw(std::vector<float>{nan, nan}, u);
      EXPECT_TRUE(any == 0 || any == 1);
    }
  }
}

}  // namespace
}  // namespace shoal

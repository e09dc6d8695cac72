#include "data/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "autograd/base/check.h"

namespace shoal {
namespace {

TEST(Sampler, AnEpochOfOneSourceIsEachSequenceOnceInANewOrder) {
  constexpr std::int64_t n = 37;
  const Sampler sampler(5, {{n, 1.0}});
  std::vector<std::vector<std::int64_t>> epochs(4);
  for (std::int64_t g = 0; g < 4 * n; ++g) {
    const Sampler::Pick pick = sampler(g);
    EXPECT_EQ(pick.source, 0);
    EXPECT_EQ(pick.epoch, g / n);
    epochs[static_cast<std::size_t>(g / n)].push_back(pick.sequence);
  }
  for (std::size_t e = 1; e < epochs.size(); ++e) EXPECT_NE(epochs[e], epochs[e - 1]);
  for (auto& epoch : epochs) {
    std::sort(epoch.begin(), epoch.end());
    for (std::int64_t i = 0; i < n; ++i) EXPECT_EQ(epoch[static_cast<std::size_t>(i)], i);
  }
}

TEST(Sampler, TheSeedDecides) {
  const Sampler a(5, {{100, 1.0}, {50, 2.0}}), same(5, {{100, 1.0}, {50, 2.0}}),
      other(6, {{100, 1.0}, {50, 2.0}});
  int equal = 0;
  for (std::int64_t g = 5000; g-- > 0;) {  // backwards: no call depends on an earlier one
    EXPECT_EQ(a(g), same(g));
    equal += a(g) == other(g);
  }
  EXPECT_LT(equal, 250);
}

TEST(Sampler, WeightsAreRealisedWithinOneSampleAtEveryBlock) {
  const std::vector<std::vector<double>> cases = {
      {1, 3}, {1, 1, 1}, {0.1, 0.2, 0.3, 0.4}, {1, 1000}, {2, 2.01, 700, 100}};
  for (const auto& weights : cases) {
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<Sampler::Source> sources;
    for (std::size_t s = 0; s < weights.size(); ++s) {
      sources.push_back({static_cast<std::int64_t>(10 + 7 * s), weights[s]});
    }
    const Sampler sampler(3, sources);
    std::vector<std::int64_t> count(weights.size());
    for (std::int64_t g = 0; g < 20 * Sampler::kBlock; ++g) {
      if (g % Sampler::kBlock == 0) {
        for (std::size_t s = 0; s < weights.size(); ++s) {
          // A quantum of the shares, 2^-20, costs 0.02 of a sample in 20 blocks.
          EXPECT_NEAR(static_cast<double>(count[s]), weights[s] / total * static_cast<double>(g),
                      1.02)
              << s;
        }
      }
      ++count[static_cast<std::size_t>(sampler(g).source)];
    }
  }
}

TEST(Sampler, EverySourceIsWalkedInItsOwnEpochs) {
  const std::vector<Sampler::Source> sources = {{11, 1.0}, {300, 2.5}, {64, 0.7}};
  const Sampler sampler(3, sources);
  std::vector<std::int64_t> visits(sources.size());
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::int64_t>> epochs;
  for (std::int64_t b = 0; b < 8; ++b) {
    for (std::int64_t g = b * Sampler::kBlock; g < (b + 1) * Sampler::kBlock; ++g) {
      const Sampler::Pick pick = sampler(g);
      ++visits[static_cast<std::size_t>(pick.source)];
      epochs[{pick.source, pick.epoch}].push_back(pick.sequence);
    }
  }
  for (auto& [key, sequences] : epochs) {
    const auto [source, epoch] = key;
    const auto s = static_cast<std::size_t>(source);
    const std::int64_t n = sources[s].sequences;
    std::sort(sequences.begin(), sequences.end());
    EXPECT_EQ(std::unique(sequences.begin(), sequences.end()), sequences.end());
    const bool last = epoch == visits[s] / n;
    EXPECT_EQ(static_cast<std::int64_t>(sequences.size()), last ? visits[s] % n : n);
  }
}

TEST(Sampler, RefusesSourcesThatItCannotServe) {
  EXPECT_THROW(Sampler(1, {}), Error);
  EXPECT_THROW(Sampler(1, {{0, 1.0}}), Error);
  EXPECT_THROW(Sampler(1, {{5, 0.0}}), Error);
  EXPECT_THROW(Sampler(1, {{5, 1.0}, {5, 2000.0}}), Error);
}

}  // namespace
}  // namespace shoal

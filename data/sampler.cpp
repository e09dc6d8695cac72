#include "data/sampler.h"

#include <cmath>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/base/rng.h"
#include "data/permutation.h"

namespace shoal {
namespace {

constexpr int kShareBits = 20;
constexpr std::int64_t kWhole = std::int64_t{1} << kShareBits;
// Keeps the keys of blocks apart from those of epochs.
constexpr std::uint64_t kBlockKey = std::uint64_t{1} << 63;

}  // namespace

Sampler::Sampler(std::uint64_t seed, std::vector<Source> sources)
    : seed_(seed), sources_(std::move(sources)), cumulative_{0} {
  CHECK(!sources_.empty() && sources_.size() < 1024, "sampler: ", sources_.size(), " sources");
  double total = 0.0;
  for (const Source& source : sources_) {
    CHECK(source.sequences > 0 && source.weight > 0.0, "sampler: a source of ", source.sequences,
          " sequences and weight ", source.weight);
    total += source.weight;
  }
  double sum = 0.0;
  for (const Source& source : sources_) {
    sum += source.weight;
    cumulative_.push_back(std::llround(sum / total * static_cast<double>(kWhole)));
    // With less than a sample a block, rounding could take a sample back from a source.
    CHECK(cumulative_.back() - *(cumulative_.end() - 2) >= kWhole / kBlock,
          "sampler: a source's share is below 1/", kBlock);
  }
}

double Sampler::share(std::int64_t source) const {
  const auto s = static_cast<std::size_t>(source);
  return static_cast<double>(cumulative_[s + 1] - cumulative_[s]) / static_cast<double>(kWhole);
}

// G_{source-1}(block), split so that nothing overflows: kBlock * block * C / 2^20.
std::int64_t Sampler::boundary(std::int64_t source, std::int64_t block) const {
  const auto product =
      static_cast<__int128>(cumulative_[static_cast<std::size_t>(source)]) * kBlock * block;
  return static_cast<std::int64_t>(product >> kShareBits);
}

Sampler::Pick Sampler::pick(std::int64_t source, std::int64_t visit) const {
  const std::int64_t n = sources_[static_cast<std::size_t>(source)].sequences;
  const std::int64_t epoch = visit / n;
  const std::uint64_t key =
      static_cast<std::uint64_t>(source) << 52 ^ static_cast<std::uint64_t>(epoch);
  return {source, KeyedPermutation(n, Rng(seed_, Purpose::kDataOrder, key))(visit % n), epoch};
}

Sampler::Pick Sampler::operator()(std::int64_t sample) const {
  DCHECK(sample >= 0, "sampler: sample ", sample);
  const auto count = static_cast<std::int64_t>(sources_.size());
  if (count == 1) return pick(0, sample);
  const std::int64_t block = sample / kBlock;
  const Rng rng(seed_, Purpose::kDataOrder, kBlockKey | static_cast<std::uint64_t>(block));
  const std::int64_t slot = KeyedPermutation(kBlock, rng)(sample % kBlock);
  std::int64_t first = 0;  // slot of the source's first sample in this block
  for (std::int64_t s = 0;; ++s) {
    const std::int64_t end = boundary(s + 1, block + 1) - boundary(s + 1, block);
    if (slot < end || s + 1 == count) {
      return pick(s, boundary(s + 1, block) - boundary(s, block) + slot - first);
    }
    first = end;
  }
}

}  // namespace shoal

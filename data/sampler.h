#pragma once
#include <cstdint>
#include <vector>

namespace shoal {

// The order of training: which sequence of which source is global sample g. A pure function of
// (seed, g), so a resumed run needs nothing but its step.
//
// A source is walked in epochs; each epoch is its own shuffle of the source's sequences. Several
// sources are mixed in blocks of 1,024 samples. With cumulative shares C_s (rounded to 2^-20),
// G_s(b) = floor(1024 * b * C_s) samples of the first b blocks belong to sources up to s, so source
// s has had G_s(b) - G_{s-1}(b) of them: counts add up exactly, and are within one sample of the
// share at every end of a block. Inside a block the sources are shuffled.
class Sampler {
 public:
  struct Source {
    std::int64_t sequences;
    double weight;  // relative to the other sources'
  };
  struct Pick {
    std::int64_t source, sequence, epoch;
    bool operator==(const Pick&) const = default;
  };
  static constexpr std::int64_t kBlock = 1024;

  // Every source needs a sequence and, among several, a share of at least 1/1024; see share().
  Sampler(std::uint64_t seed, std::vector<Source> sources);
  Pick operator()(std::int64_t sample) const;
  double share(std::int64_t source) const;  // as it is realised

 private:
  std::int64_t boundary(std::int64_t source, std::int64_t block) const;
  Pick pick(std::int64_t source, std::int64_t visit) const;

  std::uint64_t seed_;
  std::vector<Source> sources_;
  std::vector<std::int64_t> cumulative_;  // [sources + 1], in units of 2^-20
};

}  // namespace shoal

#pragma once
#include <cstdint>

#include "autograd/base/rng.h"

namespace shoal {

// A shuffle of 0 .. n-1 as a pure function: i -> the i-th number, O(1), nothing stored. A Feistel
// network over the next power of four, walked until it lands below n (the walk returns, because
// the network is a bijection, and takes 4 rounds of it on average at most).
class KeyedPermutation {
 public:
  KeyedPermutation(std::int64_t n, const Rng& rng);
  std::int64_t operator()(std::int64_t i) const;

 private:
  std::uint64_t n_;
  unsigned half_bits_ = 1;
  Rng rng_;
};

}  // namespace shoal

#include "data/permutation.h"

#include "autograd/base/check.h"

namespace shoal {
namespace {

// Four are enough for a large domain; tiny ones, where a half has 1 to 3 bits, need more to mix.
constexpr std::uint64_t kRounds = 8;

}  // namespace

KeyedPermutation::KeyedPermutation(std::int64_t n, const Rng& rng)
    : n_(static_cast<std::uint64_t>(n)), rng_(rng) {
  CHECK(n > 0 && n_ <= std::uint64_t{1} << 62, "permutation of ", n);
  while (std::uint64_t{1} << (2 * half_bits_) < n_) ++half_bits_;
}

std::int64_t KeyedPermutation::operator()(std::int64_t i) const {
  DCHECK(i >= 0 && static_cast<std::uint64_t>(i) < n_, "permutation of ", n_, " at ", i);
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  auto value = static_cast<std::uint64_t>(i);
  do {
    std::uint64_t left = value >> half_bits_, right = value & mask;
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      const std::uint64_t next = left ^ (rng_.bits(round << 32 | right) & mask);
      left = right;
      right = next;
    }
    value = left << half_bits_ | right;
  } while (value >= n_);
  return static_cast<std::int64_t>(value);
}

}  // namespace shoal

#pragma once
#include <cstdint>

namespace shoal {

// Random numbers without state: each is a function of (seed, purpose, step, index), so nothing has
// to be saved and no order of calls, thread or rank can change one.
enum class Purpose : std::uint32_t {
  kInit = 1,
  kDataOrder = 2,
  kSplit = 3,
  kHashTable = 4,
  kSampling = 5,
  kTest = 6,
  kBench = 7,
  kFault = 8,
};

class Rng {
 public:
  Rng(std::uint64_t seed, Purpose purpose, std::uint64_t step = 0);
  std::uint64_t bits(std::uint64_t index) const;
  double uniform(std::uint64_t index) const;  // [0, 1)
  double normal(std::uint64_t index) const;   // mean 0, variance 1
  // 0 .. n-1 without bias worth naming (n far below 2^64).
  std::uint64_t below(std::uint64_t index, std::uint64_t n) const;

 private:
  std::uint64_t key_;
};

std::uint64_t hash_bytes(const void* data, std::uint64_t size, std::uint64_t seed);

}  // namespace shoal

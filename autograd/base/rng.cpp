#include "autograd/base/rng.h"

#include <cmath>
#include <cstring>
#include <numbers>

namespace shoal {
namespace {

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that passes BigCrush when fed
// a counter.
std::uint64_t mix(std::uint64_t z) {
  z += 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace

Rng::Rng(std::uint64_t seed, Purpose purpose, std::uint64_t step)
    : key_(mix(mix(mix(seed) ^ static_cast<std::uint64_t>(purpose)) ^ step)) {}

std::uint64_t Rng::bits(std::uint64_t index) const { return mix(mix(index ^ key_) + key_); }

double Rng::uniform(std::uint64_t index) const {
  return static_cast<double>(bits(index) >> 11) * 0x1.0p-53;
}

double Rng::normal(std::uint64_t index) const {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform(2 * index)));
  return radius * std::cos(2.0 * std::numbers::pi * uniform(2 * index + 1));
}

std::uint64_t Rng::below(std::uint64_t index, std::uint64_t n) const {
  return static_cast<std::uint64_t>((static_cast<unsigned __int128>(bits(index)) * n) >> 64);
}

std::uint64_t hash_bytes(const void* data, std::uint64_t size, std::uint64_t seed) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  std::uint64_t hash = mix(seed ^ size);
  for (; size >= 8; size -= 8, bytes += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes, 8);
    hash = mix(hash ^ word);
  }
  std::uint64_t tail = 0;
  if (size > 0) std::memcpy(&tail, bytes, size);
  return mix(hash ^ tail);
}

}  // namespace shoal

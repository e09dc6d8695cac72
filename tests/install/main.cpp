#include <cmath>
#include <cstdint>
#include <cstdio>

#include "autograd/base/parallel.h"
#include "autograd/base/rng.h"

// The mean of 100,000 normal numbers, summed by the library's own chunks.
int main() {
  constexpr std::int64_t kCount = 100000;
  const shoal::Rng rng(7, shoal::Purpose::kTest);
  float partial[shoal::kChunks] = {};
  shoal::for_chunks(kCount, [&](shoal::Range range) {
    for (std::int64_t i = range.begin; i < range.end; ++i) {
      partial[range.chunk] += static_cast<float>(rng.normal(static_cast<std::uint64_t>(i)));
    }
  });
  const float mean = shoal::sum_chunks(partial, 1) / kCount;
  std::printf("shoal::shoal: mean of %lld normal numbers %.5f\n", static_cast<long long>(kCount),
              static_cast<double>(mean));
  return std::fabs(mean) < 0.02F ? 0 : 1;
}

// The loop behind measure_peak_gflops(), included by one .cpp per instruction set (see
// wide_vectors.h).
#pragma once
#include "autograd/kernels/wide_vectors.h"

namespace {

// Independent chains of fused multiply-adds that all stay in registers: enough of them to hide the
// latency of a processor's units, and few enough for 16 registers beside the two operands.
constexpr int kFmaChains = 12;

// chain[i] = chain[i] * x + y, `rounds` times. `numbers` are x, y and where the chains begin, one
// float each: the compiler cannot know them, so that nothing is hoisted or merged. Returns a sum
// that needs every result.
template <class V>
float fma_loop(std::int64_t rounds, const float* numbers) {
  const V x = V{} + numbers[0], y = V{} + numbers[1];
  V chain[kFmaChains];
  for (int i = 0; i < kFmaChains; ++i) chain[i] = V{} + numbers[2 + i];
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kFmaChains; ++i) chain[i] = multiply_add(y, chain[i], x);
  }
  V sum{};
  for (int i = 0; i < kFmaChains; ++i) sum += chain[i];
  return sum[0];
}

}  // namespace

#include "optim/clip.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"

namespace shoal {
namespace {

constexpr std::int64_t kChunkFloats = 65536;

std::int64_t chunk_count(const ParamSlice& s) { return (s.size + kChunkFloats - 1) / kChunkFloats; }

struct Chunk {
  const float* grads;
  std::int64_t size;
  double squares;
  bool bad;
};

// Sixteen sums side by side, so that no addition waits for the one before. The bits of |g| order as
// integers like the numbers, with NaN above all.
void measure_chunk(Chunk& chunk) {
  constexpr int kLanes = 16;
  double squares[kLanes] = {};
  std::int32_t largest[kLanes] = {};
  const auto add = [&](const float* g, int lane) {
    squares[lane] += static_cast<double>(*g) * static_cast<double>(*g);
    const std::int32_t bits = std::bit_cast<std::int32_t>(*g) & 0x7FFFFFFF;
    largest[lane] = largest[lane] < bits ? bits : largest[lane];
  };
  const std::int64_t whole = chunk.size / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    __builtin_prefetch(chunk.grads + i + 32 * kLanes);
#pragma omp simd
    for (int lane = 0; lane < kLanes; ++lane) add(chunk.grads + i + lane, lane);
  }
  for (std::int64_t i = whole; i < chunk.size; ++i) add(chunk.grads + i, 0);
  chunk.squares = std::accumulate(squares, squares + kLanes, 0.0);
  chunk.bad =
      *std::max_element(largest, largest + kLanes) > std::bit_cast<std::int32_t>(kLargestGradient);
}

// Scratch of the calling thread: a warm step makes no heap call.
struct Sum {
  const ParamSlice* slice;
  double squares;
};

}  // namespace

GradHealth measure(std::span<const float> grads, const std::vector<ParamSlice>& slices) {
  std::int64_t count = 0;
  for (const ParamSlice& s : slices) {
    CHECK(s.offset >= 0 && s.size >= 0 &&
              s.offset + s.size <= static_cast<std::int64_t>(grads.size()),
          "measure: ", s.name, " lies outside of ", grads.size(), " gradients");
    count += chunk_count(s);
  }
  if (slices.empty()) return {};
  void* scratch = thread_scratch(
      0, static_cast<std::size_t>(count) * sizeof(Chunk) + slices.size() * sizeof(Sum));
  Sum* const sums = static_cast<Sum*>(scratch);
  Chunk* const chunks = reinterpret_cast<Chunk*>(sums + slices.size());
  Chunk* chunk = chunks;
  for (const ParamSlice& s : slices) {
    for (std::int64_t begin = 0; begin < s.size; begin += kChunkFloats) {
      *chunk++ = {grads.data() + s.offset + begin, std::min(kChunkFloats, s.size - begin), 0.0,
                  false};
    }
  }
  for_tasks(count, [=](std::int64_t i) { measure_chunk(chunks[i]); });

  GradHealth health;
  chunk = chunks;
  Sum* sum = sums;
  for (const ParamSlice& s : slices) {
    *sum = {&s, 0.0};
    for (std::int64_t i = 0; i < chunk_count(s); ++i, ++chunk) {
      sum->squares += chunk->squares;
      if (chunk->bad && health.finite) {
        health.finite = false;
        health.first_bad = s.name;
      }
    }
    if (s.clipped) ++sum;
  }
  std::sort(sums, sum, [](const Sum& a, const Sum& b) { return a.slice->name < b.slice->name; });
  double squares = 0.0;
  for (const Sum* s = sums; s != sum; ++s) squares += s->squares;
  health.norm = std::sqrt(squares);
  return health;
}

float clip_scale(double norm, double clip) {
  return clip > 0.0 && norm > clip ? static_cast<float>(clip / norm) : 1.0F;
}

}  // namespace shoal

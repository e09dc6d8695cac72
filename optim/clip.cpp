#include "optim/clip.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

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

void measure_chunk(Chunk& chunk) {
  const float* g = chunk.grads;
  double squares = 0.0;
  int bad = 0;
#pragma omp simd reduction(+ : squares) reduction(| : bad)
  for (std::int64_t i = 0; i < chunk.size; ++i) {
    squares += static_cast<double>(g[i]) * static_cast<double>(g[i]);
    bad |= static_cast<int>(!(std::fabs(g[i]) <= kLargestGradient));  // true for NaN
  }
  chunk.squares = squares;
  chunk.bad = bad != 0;
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
  if (slices.empty() || parallel_is_off()) return {};
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

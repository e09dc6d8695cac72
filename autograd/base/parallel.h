#pragma once
#include <cstddef>
#include <cstdint>

namespace shoal {

// The only place that splits work over threads. How n items are cut depends on n alone, never on
// the thread count, so a sum over chunks in chunk order has the same bits on 1 core and on 64.
inline constexpr int kChunks = 32;

struct Range {
  int chunk;
  std::int64_t begin, end;
};
inline Range chunk_range(std::int64_t n, int chunk) {
  return {chunk, n * chunk / kChunks, n * (chunk + 1) / kChunks};
}

int thread_count();  // threads that the next parallel region will use
// Cores this process may use: of its affinity mask and its control group's quota the smaller.
int allowed_cores();
// Threads from OMP_NUM_THREADS if it is set, else one per allowed core.
void set_threads_from_environment();
void set_thread_count(int threads);

// While one of these lives, parallel loops of this thread do nothing: how a dry tape keeps its ops
// from computing.
class ParallelOff {
 public:
  explicit ParallelOff(bool off = true);
  ~ParallelOff();
  ParallelOff(const ParallelOff&) = delete;
  ParallelOff& operator=(const ParallelOff&) = delete;

 private:
  int depth_;
};
bool parallel_is_off();

// Memory of the calling thread, 64-byte aligned, at least `bytes` large, valid until its next call
// with the same slot. It grows and is kept, so a warm program allocates nothing.
inline constexpr int kThreadSlots = 4;
void* thread_scratch(int slot, std::size_t bytes);

int thread_number();  // of the calling thread in its parallel region, from 0

// Every thread calls fn() while the others do: for measuring. It splits no work.
template <class Fn>
void on_every_thread(const Fn& fn) {
#pragma omp parallel
  {
#pragma omp barrier
    fn();
  }
}

// A region costs a meeting of all threads, milliseconds where other programs keep one of them from
// its core: a few items, such as rows of tokens that are decoded, are not worth it.
inline constexpr std::int64_t kFewItems = 8;

template <class Fn>
void for_chunks(std::int64_t n, const Fn& fn) {
  if (parallel_is_off()) return;
#pragma omp parallel for schedule(static) if (n > kFewItems)
  for (int c = 0; c < kChunks; ++c) {
    const Range range = chunk_range(n, c);
    if (range.begin < range.end) fn(range);
  }
}

// Independent tasks of uneven size: each writes its own output, so who runs which does not matter.
// `large`: there is enough work for several threads.
template <class Fn>
void for_tasks(std::int64_t n, const Fn& fn, bool large = true) {
  if (parallel_is_off()) return;
#pragma omp parallel for schedule(dynamic, 1) if (large && n > 1)
  for (std::int64_t i = 0; i < n; ++i) fn(i);
}

// The partial sums of all chunks, added in chunk order.
inline float sum_chunks(const float* first, std::int64_t stride) {
  float sum = 0.0F;
  for (int chunk = 0; chunk < kChunks; ++chunk) sum += first[chunk * stride];
  return sum;
}

// out[i] = value(i), or += where beta is 1. The test stays outside the loop, and beta = 0 never
// reads out: it may hold NaN.
template <class Value>
void write_grad(float* out, float beta, std::int64_t n, const Value& value) {
  if (beta == 0.0F) {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) out[i] = value(i);
  } else {
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) out[i] += value(i);
  }
}

}  // namespace shoal

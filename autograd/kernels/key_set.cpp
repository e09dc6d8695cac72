#include "autograd/kernels/key_set.h"

#include <algorithm>

#include "autograd/base/parallel.h"
#include "autograd/kernels/gemm.h"

namespace shoal {
namespace {

constexpr int kScratch = 2;  // thread_scratch slot

// A sum over many keys is one chain: threads share its columns.
void multiply_by_columns(const Gemm& g) {
  constexpr std::int64_t kColumns = 32, kThreadsWork = 1 << 20;
  for_tasks((g.N + kColumns - 1) / kColumns,
            [&](std::int64_t i) {
              Gemm part = g;
              part.N = std::min(kColumns, g.N - i * kColumns);
              part.b += i * kColumns;
              part.c += i * kColumns;
              gemm_on_this_thread(part);
            },
            g.M * g.N * g.K >= kThreadsWork);
}

}  // namespace

KeySpan key_span(const KeySet& set, std::int64_t n0, std::int64_t n1) {
  const std::int64_t begin = set.begin[n0];
  return {begin, std::max<std::int64_t>(begin, set.begin[n1 - 1] + set.count[n1 - 1])};
}

KeyBlock::KeyBlock(const KeySet& set, std::int64_t n0, std::int64_t n1, bool alone)
    : set_(set), n0_(n0), n1_(n1), alone_(alone) {
  const KeySpan span = key_span(set, n0, n1);
  first_ = span.begin;
  width_ = set.chosen != nullptr ? set.slots : span.end - span.begin;
}

KeyBlock::Columns KeyBlock::columns(std::int64_t n) const {
  const std::int64_t count = set_.count[n];
  if (set_.chosen != nullptr) return {0, std::min(set_.slots, count)};
  const std::int64_t begin = set_.begin[n] - first_;
  return {begin, begin + count};
}

std::int64_t KeyBlock::key(std::int64_t n, std::int64_t column) const {
  return set_.chosen != nullptr ? set_.chosen[n * set_.slots + column] : first_ + column;
}

void KeyBlock::scores(std::int64_t per, const float* a, float* scores, std::int64_t ld) const {
  const auto product = [&](std::int64_t rows, const float* from, std::int64_t columns, float* to) {
    Gemm g = gemm_forward(rows, columns, set_.D, from, set_.keys, to);
    g.c_row = ld;
    return g;
  };
  if (set_.chosen == nullptr) {
    Gemm g = product((n1_ - n0_) * per, a, width_, scores);
    g.b += first_ * set_.D;
    if (alone_) return gemm(g);
    gemm_on_this_thread(g);
    return;
  }
  for (std::int64_t n = n0_; n < n1_; ++n) {
    const std::int64_t row = (n - n0_) * per;
    Gemm g = product(per, a + row * set_.D, columns(n).end, scores + row * ld);
    g.b_ns = set_.chosen + n * set_.slots;
    gemm_on_this_thread(g);
  }
}

void KeyBlock::values(std::int64_t per, std::int64_t from, std::int64_t take, const float* weights,
                      std::int64_t ld, float* out, bool add) const {
  const std::int64_t D = set_.D, queries = n1_ - n0_;
  Gemm g = gemm_input_grad(queries * take, width_, D, weights + from * ld, set_.keys, out, add);
  g.a_row = ld;
  if (set_.chosen == nullptr) {
    g.b += first_ * D;
    if (take != per) {
      auto* rows = static_cast<std::int32_t*>(
          thread_scratch(kScratch, static_cast<std::size_t>(queries * take) * sizeof(*g.a_rows)));
      for (std::int64_t i = 0; i < queries * take; ++i) {
        rows[i] = static_cast<std::int32_t>(i / take * per + i % take);
      }
      g.a_rows = rows;
    }
    if (alone_) return multiply_by_columns(g);
    gemm_on_this_thread(g);
    return;
  }
  g.M = take;
  for (std::int64_t n = n0_; n < n1_; ++n, g.a += per * ld, g.c += take * D) {
    g.K = columns(n).end;
    g.b_ks = set_.chosen + n * set_.slots;
    gemm_on_this_thread(g);
  }
}

void KeyBlock::add_to_keys(std::int64_t per, const float* weights, std::int64_t ld, const float* a,
                           float* sums, std::int64_t lowest) const {
  const std::int64_t D = set_.D;
  if (set_.chosen == nullptr) {
    Gemm g = gemm_weight_grad((n1_ - n0_) * per, width_, D, weights, a,
                              sums + (first_ - lowest) * D, true);
    g.a_k = ld;
    gemm_on_this_thread(g);
    return;
  }
  auto* part = static_cast<float*>(
      thread_scratch(kScratch, static_cast<std::size_t>(set_.slots * D) * sizeof(float)));
  for (std::int64_t n = n0_; n < n1_; ++n) {
    const std::int64_t row = (n - n0_) * per, keys = columns(n).end;
    Gemm g = gemm_weight_grad(per, keys, D, weights + row * ld, a + row * D, part, false);
    g.a_k = ld;
    gemm_on_this_thread(g);
    for (std::int64_t j = 0; j < keys; ++j) {
      float* to = sums + (key(n, j) - lowest) * D;
      const float* from = part + j * D;
#pragma omp simd
      for (std::int64_t d = 0; d < D; ++d) to[d] += from[d];
    }
  }
}

void sum_rows(const float* rows, std::int64_t ld, std::int64_t count, std::int64_t n, float* sums) {
  constexpr std::int64_t kRows = 8;
  std::int64_t r = 0;
  for (; r + kRows <= count; r += kRows) {
    float sum[kRows] = {};
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t i = 0; i < kRows; ++i) sum[i] += rows[(r + i) * ld + j];
    }
    std::copy_n(sum, kRows, sums + r);
  }
  for (; r < count; ++r) {
    float sum = 0.0F;
    for (std::int64_t j = 0; j < n; ++j) sum += rows[r * ld + j];
    sums[r] = sum;
  }
}

}  // namespace shoal

#include "autograd/kernels/gemm.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "autograd/kernels/few_rows.h"
#include "autograd/kernels/gemm_block.h"

namespace shoal {

void multiply_block_wide(const Gemm& g, std::int64_t m0, std::int64_t m1, std::int64_t n0,
                         std::int64_t n1, std::int64_t k_block, float* packed_b, float* packed_a);

namespace {

// A block of B, kDepth x kWidth floats, is 256 KiB: it shares a 512 KiB second-level cache with A.
constexpr Index kDepth = 256, kWidth = 256, kHeight = 512, kMaxRows = 12;
// In multiply-adds: what packing an element of B costs, and what is worth the threads' meeting. A
// token that is decoded alone in a small replica stays on one thread.
constexpr Index kPackingWork = 8, kThreadsWork = 4 << 20;
constexpr Index kTasksPerThread = 4;

bool processor_is_wide() {
#if defined(__x86_64__)
  const char* choice = std::getenv("SHOAL_GEMM");
  if (choice != nullptr && std::string_view(choice) == "generic") return false;
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512vl") != 0;
#else
  return false;
#endif
}
bool& wide() {
  static bool on = processor_is_wide();
  return on;
}

// How many tasks a product is cut into. More than its blocks only where threads would idle: then
// the side of B, which rows of A need not be packed for, or the rows of a packed A.
struct Cut {
  Index rows, cols;
  explicit Cut(const Gemm& g, Index pieces = 1)
      : rows(parts(g.M, kHeight)), cols(parts(g.N, kWidth)) {
    if (pieces == 1) return;
    if (lies_in_rows(g)) {
      cols = std::max(cols, std::min(cols * pieces, parts(g.N, 64)));
    } else {
      rows = std::max(rows, std::min(rows * pieces, parts(g.M, 96)));
    }
  }
  Index tasks() const { return rows * cols; }
  static Index parts(Index n, Index size) { return (n + size - 1) / size; }
};

// Cuts n into `parts` near-equal ranges on multiples of `unit`.
Index cut_at(Index n, Index parts, Index part, Index unit) {
  return std::min(n, (n * part / parts + unit - 1) / unit * unit);
}

void run_task(const Gemm& g, const Cut& cut, Index task) {
  const Index row = task / cut.cols, col = task % cut.cols;
  const Index m0 = cut_at(g.M, cut.rows, row, kMaxRows);
  const Index m1 = cut_at(g.M, cut.rows, row + 1, kMaxRows);
  const Index n0 = cut_at(g.N, cut.cols, col, 32), n1 = cut_at(g.N, cut.cols, col + 1, 32);
  if (m0 >= m1 || n0 >= n1) return;
  if (g.K == 0) {
    for (Index m = m0; m < m1 && !g.add; ++m) {
      std::fill(g.c + m * g.c_row + n0, g.c + m * g.c_row + n1, 0.0F);
    }
    return;
  }
  if (has_few_rows(g)) return multiply_few_rows(g, n0, n1);
  const Index depth = std::min(g.K, kDepth);
  const Index width = (n1 - n0 + 31) / 32 * 32;
  auto* packed_b = static_cast<float*>(thread_scratch(
      0, static_cast<std::size_t>(depth * (width + kGroups * kMaxRows)) * sizeof(float) + 64));
  float* packed_a = packed_b + depth * width;
  if (wide()) {
    multiply_block_wide(g, m0, m1, n0, n1, kDepth, packed_b, packed_a);
  } else {
    multiply_block<V8, 6>(g, m0, m1, n0, n1, kDepth, packed_b, packed_a);
  }
}

void check(const Gemm& g) {
  CHECK(g.M >= 0 && g.N >= 0 && g.K >= 0, "gemm: negative size");
  CHECK(g.a_k == 1 || g.a_row == 1, "gemm: A needs a unit stride");
  CHECK(g.b_n == 1 || g.b_k == 1, "gemm: B needs a unit stride");
  CHECK(g.a_rows == nullptr || g.a_k == 1, "gemm: gathered rows of A need contiguous terms");
  CHECK(g.a_ks == nullptr || g.a_row == 1, "gemm: gathered terms of A need contiguous rows");
  CHECK(g.b_ks == nullptr || g.b_n == 1, "gemm: gathered terms of B need contiguous columns");
  CHECK(g.b_ns == nullptr || g.b_k == 1, "gemm: gathered columns of B need contiguous terms");
}

}  // namespace

Gemm gemm_forward(std::int64_t N, std::int64_t O, std::int64_t C, const float* x, const float* w,
                  float* y) {
  return {
      .M = N, .N = O, .K = C, .a = x, .a_row = C, .b = w, .b_k = 1, .b_n = C, .c = y, .c_row = O};
}
Gemm gemm_input_grad(std::int64_t N, std::int64_t O, std::int64_t C, const float* dy,
                     const float* w, float* dx, bool add) {
  return {.M = N,
          .N = C,
          .K = O,
          .a = dy,
          .a_row = O,
          .b = w,
          .b_k = C,
          .b_n = 1,
          .c = dx,
          .c_row = C,
          .add = add};
}
Gemm gemm_weight_grad(std::int64_t N, std::int64_t O, std::int64_t C, const float* dy,
                      const float* x, float* dw, bool add) {
  return {.M = O,
          .N = C,
          .K = N,
          .a = dy,
          .a_row = 1,
          .a_k = O,
          .b = x,
          .b_k = C,
          .b_n = 1,
          .c = dw,
          .c_row = C,
          .add = add};
}

void gemm(std::span<const Gemm> products) {
  if (parallel_is_off()) return;
  Index tasks = 0, work = 0;
  for (const Gemm& g : products) {
    check(g);
    tasks += Cut(g).tasks();
    if (g.M > 0) work += (g.M + kPackingWork) * g.N * g.K;
  }
  const Index wanted = kTasksPerThread * thread_count();
  const Index pieces = tasks == 0 ? 1 : (wanted + tasks - 1) / tasks;
  if (pieces > 1) {
    tasks = 0;
    for (const Gemm& g : products) tasks += Cut(g, pieces).tasks();
  }
  const auto run = [&](Index task) {
    for (const Gemm& g : products) {
      const Cut cut(g, pieces);
      if (task < cut.tasks()) return run_task(g, cut, task);
      task -= cut.tasks();
    }
  };
  for_tasks(tasks, run, work >= kThreadsWork);
}

void gemm_on_this_thread(const Gemm& g) {
  const Cut cut(g);
  for (Index task = 0; task < cut.tasks(); ++task) run_task(g, cut, task);
}

const char* gemm_kernel() { return wide() ? "avx512" : "generic"; }
void use_wide_gemm(bool on) { wide() = on && processor_is_wide(); }

}  // namespace shoal

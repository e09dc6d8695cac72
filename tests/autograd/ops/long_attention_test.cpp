#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "autograd/ops/attention.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/linear.h"
#include "tests/optim/testing.h"

namespace shoal::testing {
namespace {

struct Gradients {
  std::vector<float> q, kv, entries;
  float sink;
};

// A document of `rows` rows after `before` rows of another one, and `after` rows of a third; all
// have an entry every kRate rows.
Gradients gradients(std::int64_t before, std::int64_t rows, std::int64_t after, bool lists) {
  constexpr std::int64_t D = 6, H = 2, window = 40, kRate = 4, kSlots = 5;
  const std::int64_t N = before + rows + after;
  const std::int64_t entries_before = before / kRate;
  Tape tape({1 << 28, 1 << 28});
  // The document's own numbers; the others' are all alike, and nobody asks for their outputs.
  struct Input {
    std::vector<float> value, grad;
    Param param;
  };
  const auto fill = [](Input& in, std::int64_t total, std::int64_t cols, float other,
                       std::int64_t from, const std::vector<float>& own) {
    in.value.assign(static_cast<std::size_t>(total * cols), other);
    in.grad.resize(in.value.size());
    std::copy(own.begin(), own.end(), in.value.begin() + from * cols);
    in.param.value = {in.value.data(), {total, cols}, DType::kF32, kConstant};
    in.param.grad = {in.grad.data(), {total, cols}, DType::kF32, kConstant};
  };
  const std::int64_t M = entries_before + rows / kRate + after / kRate;
  Input q, kv, entries, sink, weights;
  fill(q, N, H * D, 0.3F, before, normals(rows * H * D, 1));
  fill(kv, N, D, 0.2F, before, normals(rows * D, 2));
  fill(entries, M, D, 0.4F, entries_before, normals(rows / kRate * D, 4));
  fill(weights, N, H * D, 0.0F, before, normals(rows * H * D, 3));
  fill(sink, 1, H, 0.0F, 0, {0.5F, -0.5F});
  sink.param.value.shape = sink.param.grad.shape = {H};
  const Tensor first = tape.alloc({N}, DType::kI32), position = tape.alloc({N}, DType::kI32);
  Entries seen{
      tape.leaf(entries.param), tape.alloc({N}, DType::kI32), tape.alloc({N}, DType::kI32), {}};
  if (lists) seen.chosen = tape.alloc({N, kSlots}, DType::kI32);
  for (std::int64_t n = 0; n < N; ++n) {
    const bool own = n >= before && n < before + rows;
    const std::int64_t begin = n < before ? 0 : own ? before : before + rows;
    first.as<std::int32_t>()[n] = static_cast<std::int32_t>(begin);
    position.as<std::int32_t>()[n] = static_cast<std::int32_t>(n - begin);
    const auto from = static_cast<std::int32_t>(n < before ? 0
                                                : own      ? entries_before
                                                           : entries_before + rows / kRate);
    const auto count = static_cast<std::int32_t>((n - begin + 1) / kRate);
    seen.begin.as<std::int32_t>()[n] = from;
    seen.count.as<std::int32_t>()[n] = count;
    for (std::int32_t i = 0; lists && i < kSlots; ++i) {  // those in the middle
      const std::int32_t chosen = count <= kSlots ? i : (count - 1) / 2 - kSlots / 2 + i;
      seen.chosen.as<std::int32_t>()[n * kSlots + i] = i < count ? from + chosen : -1;
    }
  }
  std::vector<float> cos_sin;
  for (std::int64_t p = 0; p < N; ++p) {
    cos_sin.push_back(std::cos(static_cast<float>(p)));
    cos_sin.push_back(std::sin(static_cast<float>(p)));
  }
  Tensor o = attention(tape, tape.leaf(q.param), tape.leaf(kv.param), tape.leaf(sink.param), first,
                       position, {cos_sin.data(), 1, N}, window, seen)
                 .o;
  o.shape = {1, N * H * D};
  const Tensor w{weights.value.data(), {1, N * H * D}, DType::kF32, kConstant};
  tape.backward(linear(tape, o, w));
  const auto own = [](const std::vector<float>& x, std::int64_t from, std::int64_t count) {
    return std::vector<float>(x.begin() + from, x.begin() + from + count);
  };
  return {own(q.grad, before * H * D, rows * H * D), own(kv.grad, before * D, rows * D),
          own(entries.grad, entries_before * D, rows / kRate * D), sink.grad[0]};
}

// Backward sums the gradients of keys in 16 parts of the rows, each of many blocks. A document that
// lies across the border of two parts or blocks, or begins or ends there, has the gradients that
// it has alone.
TEST(Attention, GradientsAcrossTheBordersOfParts) {
  for (const bool lists : {false, true}) {
    const Gradients want = gradients(0, 90, 0, lists);
    for (const std::int64_t before : {32, 450, 512, 1958, 2037, 2048, 4060}) {
      for (const std::int64_t after : {0, 3, 2100}) {
        SCOPED_TRACE(before);
        const Gradients got = gradients(before, 90, after, lists);
        const auto near = [](const std::vector<float>& a, const std::vector<float>& b) {
          ASSERT_EQ(a.size(), b.size());
          for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 2e-5);
        };
        near(got.q, want.q);
        near(got.kv, want.kv);
        near(got.entries, want.entries);
        EXPECT_NEAR(got.sink, want.sink, 2e-5);
      }
    }
  }
}

// A token that is decoded: its keys are shared by the threads, whose number no bit may depend on;
// nor may any depend on the rows beside it, which are cut into many blocks.
TEST(Attention, OneRowOverManyKeysHasTheBitsOfARowAmongMany) {
  constexpr std::int64_t D = 48, H = 3, R = 9001, M = 4500;
  const std::vector<float> q = normals(40 * H * D, 1), kv = normals(R * D, 2),
                           entries = normals(M * D, 3), sink = {0.5F, -0.5F, 0.1F};
  const auto constant = [](const std::vector<float>& x, Shape shape) {
    return Tensor{const_cast<float*>(x.data()), shape, DType::kF32, kConstant};
  };
  std::vector<float> cos_sin;
  for (std::int64_t p = 0; p < R; ++p) {
    cos_sin.push_back(std::cos(static_cast<float>(p)));
    cos_sin.push_back(std::sin(static_cast<float>(p)));
  }
  const auto last_row = [&](std::int64_t N, bool mixed) {
    Tape tape({1 << 28, 1 << 28});
    const Tensor first = tape.alloc({N}, DType::kI32), position = tape.alloc({N}, DType::kI32);
    Entries seen{mixed ? constant(entries, {M, D}) : Tensor{},
                 tape.alloc({N}, DType::kI32),
                 tape.alloc({N}, DType::kI32),
                 {}};
    for (std::int64_t n = 0; n < N; ++n) {
      first.as<std::int32_t>()[n] = seen.begin.as<std::int32_t>()[n] = 0;
      position.as<std::int32_t>()[n] = static_cast<std::int32_t>(R - N + n);
      seen.count.as<std::int32_t>()[n] = M;
    }
    Tensor rows = constant(q, {N, H * D});
    rows.data = const_cast<float*>(q.data()) + (40 - N) * H * D;
    const Attended out = attention(tape, rows, constant(kv, {R, D}), constant(sink, {H}), first,
                                   position, {cos_sin.data(), 1, R}, R, seen);
    std::vector<float> row(out.o.row(N - 1), out.o.row(N - 1) + H * D);
    row.insert(row.end(), out.lse.row(N - 1), out.lse.row(N - 1) + H);
    return row;
  };
  for (const bool mixed : {false, true}) {
    const std::vector<float> want = last_row(40, mixed);
    for_thread_counts([&](int threads) {
      EXPECT_EQ(last_row(1, mixed), want) << threads << " threads";
      EXPECT_EQ(last_row(2, mixed), want) << threads << " threads";
    });
  }
}

}  // namespace
}  // namespace shoal::testing

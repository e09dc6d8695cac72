#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "autograd/ops/elementwise.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/window_attention.h"
#include "tests/optim/testing.h"

namespace shoal::testing {
namespace {

struct Gradients {
  std::vector<float> q, kv;
  float sink;
};

// A document of `rows` rows after `before` rows of another one, and `after` rows of a third.
Gradients gradients(std::int64_t before, std::int64_t rows, std::int64_t after) {
  constexpr std::int64_t D = 6, H = 2, window = 40;
  const std::int64_t N = before + rows + after;
  Tape tape({1 << 28, 1 << 28});
  const std::vector<float> q0 = normals(rows * H * D, 1), kv0 = normals(rows * D, 2);
  const std::vector<float> dy0 = normals(rows * H * D, 3);
  std::vector<float> q(static_cast<std::size_t>(N * H * D), 0.3F), dq(q.size());
  std::vector<float> kv(static_cast<std::size_t>(N * D), 0.2F), dkv(kv.size());
  std::vector<float> sink{0.5F, -0.5F}, dsink(2), weights(q.size(), 0.0F);
  std::copy(q0.begin(), q0.end(), q.begin() + before * H * D);
  std::copy(kv0.begin(), kv0.end(), kv.begin() + before * D);
  std::copy(dy0.begin(), dy0.end(), weights.begin() + before * H * D);  // 0 for the others
  std::vector<Param> params(3);
  params[0].value = {q.data(), {N, H * D}, DType::kF32, kConstant};
  params[0].grad = {dq.data(), {N, H * D}, DType::kF32, kConstant};
  params[1].value = {kv.data(), {N, D}, DType::kF32, kConstant};
  params[1].grad = {dkv.data(), {N, D}, DType::kF32, kConstant};
  params[2].value = {sink.data(), {H}, DType::kF32, kConstant};
  params[2].grad = {dsink.data(), {H}, DType::kF32, kConstant};
  const Tensor first = tape.alloc({N}, DType::kI32), position = tape.alloc({N}, DType::kI32);
  for (std::int64_t n = 0; n < N; ++n) {
    const std::int64_t begin = n < before ? 0 : n < before + rows ? before : before + rows;
    first.as<std::int32_t>()[n] = static_cast<std::int32_t>(begin);
    position.as<std::int32_t>()[n] = static_cast<std::int32_t>(n - begin);
  }
  std::vector<float> cos_sin;
  for (std::int64_t p = 0; p < N; ++p) {
    cos_sin.push_back(std::cos(static_cast<float>(p)));
    cos_sin.push_back(std::sin(static_cast<float>(p)));
  }
  Tensor o =
      window_attention(tape, tape.leaf(params[0]), tape.leaf(params[1]), tape.leaf(params[2]),
                       first, position, {cos_sin.data(), 1, N}, window);
  o.shape = {1, N * H * D};
  const Tensor w{weights.data(), {1, N * H * D}, DType::kF32, kConstant};
  tape.backward(linear(tape, o, w));
  return {{dq.begin() + before * H * D, dq.begin() + (before + rows) * H * D},
          {dkv.begin() + before * D, dkv.begin() + (before + rows) * D},
          dsink[0]};
}

// Backward adds up the gradients of keys in waves of 2048 rows. A document that lies across the
// border of two waves, or begins or ends there, has the gradients that it has alone.
TEST(WindowAttention, GradientsAcrossTheBorderOfWaves) {
  const Gradients want = gradients(0, 90, 0);
  for (const std::int64_t before : {1958, 1959, 2000, 2037, 2047, 2048, 4060}) {
    for (const std::int64_t after : {0, 3, 2100}) {
      SCOPED_TRACE(before);
      const Gradients got = gradients(before, 90, after);
      for (std::size_t i = 0; i < want.q.size(); ++i) ASSERT_NEAR(got.q[i], want.q[i], 2e-5);
      for (std::size_t i = 0; i < want.kv.size(); ++i) ASSERT_NEAR(got.kv[i], want.kv[i], 2e-5);
      EXPECT_NEAR(got.sink, want.sink, 2e-5);
    }
  }
}

}  // namespace
}  // namespace shoal::testing

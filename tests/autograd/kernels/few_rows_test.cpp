#include "autograd/kernels/few_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "autograd/base/rng.h"

namespace shoal {
namespace {

std::vector<float> random(std::int64_t n, std::uint64_t seed) {
  const Rng rng(seed, Purpose::kTest);
  std::vector<float> x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
  return x;
}

// Every number is one chain of fused multiply-adds over k; nothing else is written.
TEST(FewRows, AreChainsOverK) {
  for (std::int64_t M = 1; M <= 8; ++M) {
    for (const std::int64_t N : {1, 7, 8, 9, 31, 32, 33, 70}) {
      for (const std::int64_t K : {1, 7, 8, 13, 64, 300}) {
        const std::vector<float> a = random((M + 3) * (K + 2), 1), b = random((N + 5) * K, 2);
        const std::vector<std::int32_t> rows = {3, 1, 0, 2, 5, 4, 7, 6};
        std::vector<std::int32_t> columns;
        for (std::int64_t n = 0; n < N; ++n) {
          columns.push_back(static_cast<std::int32_t>((n * 7 + 3) % (N + 5)));
        }
        for (int how = 0; how < 8; ++how) {
          Gemm g = gemm_forward(M, N, K, a.data(), b.data(), nullptr);
          g.a_row = K + 2;
          g.c_row = N + 4;
          g.add = (how & 1) != 0;
          if ((how & 2) != 0) g.b_ns = columns.data();
          if ((how & 4) != 0 && M <= 2) g.a_rows = rows.data();
          ASSERT_TRUE(has_few_rows(g));
          std::vector<float> c = random(M * g.c_row, 3), expected = c;
          const std::int64_t n0 = N / 3;
          for (std::int64_t m = 0; m < M; ++m) {
            for (std::int64_t n = n0; n < N; ++n) {
              float sum = g.add ? expected[static_cast<std::size_t>(m * g.c_row + n)] : 0.0F;
              const std::int64_t row = g.a_rows != nullptr ? g.a_rows[m] : m;
              const std::int64_t column = g.b_ns != nullptr ? g.b_ns[n] : n;
              for (std::int64_t k = 0; k < K; ++k) {
                sum = std::fma(g.a[row * g.a_row + k], g.b[column * g.b_n + k], sum);
              }
              expected[static_cast<std::size_t>(m * g.c_row + n)] = sum;
            }
          }
          g.c = c.data();
          multiply_few_rows(g, n0, N);
          ASSERT_EQ(c, expected) << M << " x " << N << " x " << K << ", " << how;
        }
      }
    }
  }
}

TEST(FewRows, OnlyWhatFits) {
  const Gemm forward = gemm_forward(8, 5, 6, nullptr, nullptr, nullptr);
  EXPECT_TRUE(has_few_rows(forward));
  EXPECT_FALSE(has_few_rows(gemm_forward(9, 5, 6, nullptr, nullptr, nullptr)));
  EXPECT_FALSE(has_few_rows(gemm_input_grad(2, 5, 6, nullptr, nullptr, nullptr, false)));
  EXPECT_FALSE(has_few_rows(gemm_weight_grad(4, 3, 6, nullptr, nullptr, nullptr, false)));
}

}  // namespace
}  // namespace shoal

#include "autograd/kernels/sinkhorn.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tests/optim/testing.h"

namespace shoal::testing {
namespace {

struct Mixed {
  std::vector<float> pre, post, comb;
};

Mixed mix(const MixingShape& shape, std::int64_t rows, const std::vector<float>& u) {
  const auto n = static_cast<std::size_t>(shape.streams), N = static_cast<std::size_t>(rows);
  Mixed m{std::vector<float>(N * n), std::vector<float>(N * n), std::vector<float>(N * n * n)};
  const std::vector<float> scale{1.0F, 1.0F, 1.0F}, base(static_cast<std::size_t>(shape.columns()));
  mixing_forward(shape, rows, u.data(), scale.data(), base.data(), m.pre.data(), m.post.data(),
                 m.comb.data());
  return m;
}

// The mixing matrix is M of spec 4.1: its second normalisation, over j, is the last.
TEST(Sinkhorn, ColumnsOfMAddUpToOne) {
  constexpr std::int64_t kRows = 500;
  for (std::int64_t n = 1; n <= 8; ++n) {
    const MixingShape shape{Mixing::kManifold, n, 20, 1e-6F};
    const std::vector<float> comb =
        mix(shape, kRows, normals(kRows * shape.columns(), 1, 3.0)).comb;
    double worst = 0.0;
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int64_t k = 0; k < n; ++k) {
        double sum = 0.0;
        for (std::int64_t j = 0; j < n; ++j) {
          const float x = comb[static_cast<std::size_t>((r * n + j) * n + k)];
          EXPECT_GE(x, 0.0F);
          sum += x;
        }
        worst = std::max(worst, std::abs(sum - 1.0));
      }
    }
    EXPECT_LT(worst, 2e-6) << n << " streams";
  }
}

// The report's form: B = exp(logits)^T, then twenty times columns and rows of B. Without hc_eps it
// is the same matrix, transposed; with 1e-6 it is near in the median, and far in single matrices,
// whose entries below eps are lifted.
TEST(Sinkhorn, IsTheReportsIterationTransposed) {
  constexpr std::int64_t kRows = 4000;
  for (const std::int64_t n : {2, 4, 7}) {
    for (const float eps : {0.0F, 1e-6F}) {
      const MixingShape shape{Mixing::kManifold, n, 20, eps};
      const std::int64_t J = shape.columns();
      const std::vector<float> u = normals(kRows * J, 9, 3.0);
      const std::vector<float> comb = mix(shape, kRows, u).comb;
      std::vector<double> errors;
      for (std::int64_t r = 0; r < kRows; ++r) {
        std::vector<double> B(static_cast<std::size_t>(n * n));
        const auto b = [&](std::int64_t k, std::int64_t j) -> double& {
          return B[static_cast<std::size_t>(k * n + j)];
        };
        for (std::int64_t j = 0; j < n; ++j) {
          for (std::int64_t k = 0; k < n; ++k) {
            b(k, j) = std::exp(
                static_cast<double>(u[static_cast<std::size_t>(r * J + 2 * n + j * n + k)]));
          }
        }
        for (int step = 0; step < 20; ++step) {
          for (std::int64_t j = 0; j < n; ++j) {  // columns of B
            double sum = 0.0;
            for (std::int64_t k = 0; k < n; ++k) sum += b(k, j);
            for (std::int64_t k = 0; k < n; ++k) b(k, j) /= sum;
          }
          for (std::int64_t k = 0; k < n; ++k) {  // rows of B
            double sum = 0.0;
            for (std::int64_t j = 0; j < n; ++j) sum += b(k, j);
            for (std::int64_t j = 0; j < n; ++j) b(k, j) /= sum;
          }
        }
        double error = 0.0;
        for (std::int64_t j = 0; j < n; ++j) {
          for (std::int64_t k = 0; k < n; ++k) {
            error = std::max(
                error, std::abs(comb[static_cast<std::size_t>((r * n + j) * n + k)] - b(k, j)));
          }
        }
        errors.push_back(error);
      }
      std::sort(errors.begin(), errors.end());
      if (eps == 0.0F) {
        EXPECT_LT(errors.back(), 1e-5) << n;
      } else {
        EXPECT_LT(errors[errors.size() / 2], 1e-4) << n;
        EXPECT_GT(errors.back(), 1e-5) << n;  // so that eps does something
        EXPECT_LT(errors.back(), 0.2) << n;
      }
    }
  }
}

// Tokens go by in lanes: a token's bits do not depend on the others.
TEST(Sinkhorn, ARowAloneEqualsItsBatch) {
  for (const Mixing kind : {Mixing::kManifold, Mixing::kHyper}) {
    const MixingShape shape{kind, 5, 20, 1e-6F};
    const std::int64_t J = shape.columns(), rows = 21;
    const std::vector<float> u = normals(rows * J, 4, 2.0);
    const Mixed all = mix(shape, rows, u);
    for (std::int64_t r = 0; r < rows; ++r) {
      const Mixed one = mix(shape, 1, {u.begin() + r * J, u.begin() + (r + 1) * J});
      EXPECT_TRUE(std::equal(one.pre.begin(), one.pre.end(), all.pre.begin() + r * 5));
      EXPECT_TRUE(std::equal(one.post.begin(), one.post.end(), all.post.begin() + r * 5));
      EXPECT_TRUE(std::equal(one.comb.begin(), one.comb.end(), all.comb.begin() + r * 25));
    }
  }
}

}  // namespace
}  // namespace shoal::testing

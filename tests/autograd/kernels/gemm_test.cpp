#include "autograd/kernels/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "autograd/base/check.h"
#include "tests/optim/testing.h"

namespace shoal::testing {
namespace {

// A product with its own memory: A and B in one of their orders, C with room to its right.
struct Product {
  Gemm g;
  std::vector<float> a, b, c;
  std::vector<std::int32_t> a_rows, a_ks, b_ks, b_ns;
};

enum Order { kForward, kInputGrad, kWeightGrad };
constexpr Order kOrders[] = {kForward, kInputGrad, kWeightGrad};

std::vector<std::int32_t> scattered(std::int64_t count, std::int64_t of, std::uint64_t seed) {
  const Rng rng(seed, Purpose::kTest, 3);
  std::vector<std::int32_t> index;
  for (std::int64_t i = 0; i < count; ++i) {
    index.push_back(static_cast<std::int32_t>(
        rng.below(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(of))));
  }
  return index;
}

// kForward: A rows, B^T rows. kInputGrad: A rows, B rows. kWeightGrad: A columns, B rows.
Product make(Order order, std::int64_t M, std::int64_t N, std::int64_t K, bool add, bool gathered) {
  Product p;
  const std::int64_t extra = gathered ? 5 : 0;  // rows that the index may or may not name
  const bool rows = order != kWeightGrad;
  p.a = normals((M + extra) * (K + extra) + 1, 1);
  p.b = normals((N + extra) * (K + extra) + 1, 2);
  p.c = normals(M * (N + 3), 3);
  p.g = {.M = M,
         .N = N,
         .K = K,
         .a = p.a.data(),
         .b = p.b.data(),
         .c = p.c.data(),
         .c_row = N + 3,
         .add = add};
  p.g.a_row = rows ? K : 1;
  p.g.a_k = rows ? 1 : M;
  p.g.b_k = order == kForward ? 1 : N;
  p.g.b_n = order == kForward ? K : 1;
  if (gathered && rows) {
    p.a_rows = scattered(M, M + extra, 4);
    p.g.a_rows = p.a_rows.data();
  }
  if (gathered && !rows) {
    p.a_ks = scattered(K, K + extra, 5);
    p.g.a_ks = p.a_ks.data();
  }
  if (gathered && order == kForward) {
    p.b_ns = scattered(N, N + extra, 7);
    p.g.b_ns = p.b_ns.data();
  }
  if (gathered && order != kForward) {
    p.b_ks = scattered(K, K + extra, 6);
    p.g.b_ks = p.b_ks.data();
  }
  return p;
}

float a_at(const Gemm& g, std::int64_t m, std::int64_t k) {
  const std::int64_t row = g.a_rows != nullptr ? g.a_rows[m] : m;
  return g.a[row * g.a_row + (g.a_ks != nullptr ? g.a_ks[k] : k) * g.a_k];
}
float b_at(const Gemm& g, std::int64_t k, std::int64_t n) {
  return g
      .b[(g.b_ks != nullptr ? g.b_ks[k] : k) * g.b_k + (g.b_ns != nullptr ? g.b_ns[n] : n) * g.b_n];
}

// The promise in full: one chain of fused multiply-adds, so every bit is known beforehand.
std::vector<float> chains(const Gemm& g, const std::vector<float>& c) {
  std::vector<float> out = c;
  for (std::int64_t m = 0; m < g.M; ++m) {
    for (std::int64_t n = 0; n < g.N; ++n) {
      float& to = out[static_cast<std::size_t>(m * g.c_row + n)];
      float sum = g.add ? to : 0.0F;
      for (std::int64_t k = 0; k < g.K; ++k) sum = std::fma(a_at(g, m, k), b_at(g, k, n), sum);
      to = sum;
    }
  }
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

struct Size {
  std::int64_t M, N, K;
};
// Each dimension around the tile, panel and block borders: 6, 12, 16, 32, 256, 512.
const std::vector<Size> kSizes{{1, 1, 1},     {1, 7, 3},      {5, 1, 9},     {6, 16, 8},
                               {7, 17, 9},    {12, 32, 16},   {13, 33, 17},  {3, 70, 255},
                               {25, 31, 256}, {11, 300, 257}, {40, 257, 19}, {515, 45, 33},
                               {530, 260, 5}, {2, 513, 520},  {1, 64, 1000}, {97, 1, 300}};

class GemmTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override { use_wide_gemm(GetParam()); }
  void TearDown() override { use_wide_gemm(true); }
};

TEST_P(GemmTest, EveryElementIsOneChainOfFusedMultiplyAdds) {
  for (const Order order : kOrders) {
    for (const Size& s : kSizes) {
      for (const bool add : {false, true}) {
        for (const bool gathered : {false, true}) {
          Product p = make(order, s.M, s.N, s.K, add, gathered);
          const std::vector<float> want = chains(p.g, p.c);  // the 3 columns beside C included
          gemm(p.g);
          EXPECT_TRUE(same_bits(p.c, want)) << order << ' ' << s.M << 'x' << s.N << 'x' << s.K
                                            << (add ? " add" : "") << (gathered ? " gathered" : "");
          Product q = make(order, s.M, s.N, s.K, add, gathered);
          gemm_on_this_thread(q.g);
          EXPECT_TRUE(same_bits(q.c, want));
        }
      }
    }
  }
}

TEST_P(GemmTest, ARowAloneEqualsItsBatch) {
  for (const Order order : kOrders) {
    for (const Size& s : kSizes) {
      Product p = make(order, s.M, s.N, s.K, true, true);
      const std::vector<float> before = p.c;
      gemm(p.g);
      for (std::int64_t m = 0; m<s.M; m += s.M> 50 ? 37 : 1) {
        std::vector<float> c(before.begin() + m * p.g.c_row, before.begin() + (m + 1) * p.g.c_row);
        Gemm one = p.g;
        one.M = 1;
        one.c = c.data();
        if (one.a_rows != nullptr) {
          one.a_rows += m;
        } else {
          one.a += m * one.a_row;
        }
        gemm(one);
        EXPECT_TRUE(std::equal(c.begin(), c.end(), p.c.begin() + m * p.g.c_row)) << order << m;
      }
    }
  }
}

TEST_P(GemmTest, MatchesDoublePrecision) {
  Product p = make(kForward, 37, 41, 700, false, false);
  gemm(p.g);
  for (std::int64_t m = 0; m < 37; ++m) {
    for (std::int64_t n = 0; n < 41; ++n) {
      double sum = 0.0, size = 0.0;
      for (std::int64_t k = 0; k < 700; ++k) {
        const double term = static_cast<double>(a_at(p.g, m, k)) * b_at(p.g, k, n);
        sum += term;
        size += term * term;
      }
      EXPECT_NEAR(p.c[static_cast<std::size_t>(m * p.g.c_row + n)], sum, 3e-6 * std::sqrt(size));
    }
  }
}

TEST_P(GemmTest, EmptyProducts) {
  for (const Order order : kOrders) {
    for (const bool add : {false, true}) {
      for (const Size& s : {Size{9, 40, 0}, Size{0, 40, 7}, Size{9, 0, 7}, Size{0, 0, 0}}) {
        Product p = make(order, s.M, s.N, s.K, add, false);
        const std::vector<float> want = chains(p.g, p.c);
        gemm(p.g);
        EXPECT_TRUE(same_bits(p.c, want)) << s.M << s.N << s.K << add;
      }
    }
  }
  gemm(std::span<const Gemm>());
}

// Without `add` C is never read: it may hold NaN.
TEST_P(GemmTest, OverwritesWhateverWasThere) {
  for (const Order order : kOrders) {
    Product p = make(order, 14, 45, 300, false, false);
    const std::vector<float> want = chains(p.g, p.c);
    for (std::int64_t m = 0; m < 14; ++m) {
      std::fill_n(p.c.begin() + m * p.g.c_row, 45, std::numeric_limits<float>::quiet_NaN());
    }
    gemm(p.g);
    EXPECT_TRUE(same_bits(p.c, want));
  }
}

TEST_P(GemmTest, ManyAtOnceAndAnyThreadCount) {
  for_thread_counts([&](int) {
    std::vector<Product> products;
    std::vector<std::vector<float>> want;
    for (const Size& s : kSizes) {
      for (const Order order : kOrders) {
        products.push_back(make(order, s.M, s.N, s.K, true, true));
        want.push_back(chains(products.back().g, products.back().c));
      }
    }
    std::vector<Gemm> all;
    for (const Product& p : products) all.push_back(p.g);
    gemm(all);
    for (std::size_t i = 0; i < all.size(); ++i)
      EXPECT_TRUE(same_bits(products[i].c, want[i])) << i;
  });
}

INSTANTIATE_TEST_SUITE_P(Widths, GemmTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Wide" : "Generic"; });

TEST(Gemm, RefusesStridesThatItCannotRead) {
  float x[16] = {};
  const Gemm good{.M = 2, .N = 2, .K = 2, .a = x, .a_row = 2, .b = x, .b_k = 2, .c = x, .c_row = 2};
  Gemm bad = good;
  bad.a_k = 2;
  EXPECT_THROW(gemm(bad), Error);
  bad = good;
  bad.b_n = 2;
  EXPECT_THROW(gemm(bad), Error);
  bad = good;
  const std::int32_t index[2] = {};
  bad.b_ns = index;
  EXPECT_THROW(gemm(bad), Error);
  bad = good;
  bad.M = -1;
  EXPECT_THROW(gemm(bad), Error);
}

}  // namespace
}  // namespace shoal::testing

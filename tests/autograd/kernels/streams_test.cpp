#include "autograd/kernels/streams.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/optim/testing.h"

namespace shoal::testing {
namespace {

// Widths with whole blocks, panels and lanes, and with edges of each.
std::vector<StreamShape> shapes() {
  std::vector<StreamShape> all;
  for (std::int64_t n = 1; n <= 8; ++n) {
    for (const std::int64_t C : {1, 7, 32, 150}) all.push_back({n, C, n * (2 + n)});
  }
  all.push_back({4, 512, 24});
  all.push_back({4, 150, 4});  // a head
  return all;
}

std::vector<const StreamKernels*> all_kernels() {
  std::vector<const StreamKernels*> all{&stream_kernels_base()};
  if (&stream_kernels() != all[0]) all.push_back(&stream_kernels());
  return all;
}

using Floats = std::vector<float>;
Floats packed(std::int64_t size, void (*pack)(const StreamShape&, const float*, float*),
              const StreamShape& s, const Floats& fn) {
  Floats to(static_cast<std::size_t>(size), std::numeric_limits<float>::quiet_NaN());
  pack(s, fn.data(), to.data());
  return to;
}

double strided_dot(const float* a, const float* b, std::int64_t size, std::int64_t a_step = 1,
                   std::int64_t b_step = 1) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < size; ++i) sum += double{a[i * a_step]} * double{b[i * b_step]};
  return sum;
}
void expect_near(float got, double want, double scale, const StreamShape& s) {
  ASSERT_NEAR(got, want, 1e-5 * scale) << "n=" << s.n << " C=" << s.C << " J=" << s.J;
}

struct Forward {
  Floats u, squares, read, y;
};

// `block` rows at a time.
Forward run_forward(const StreamKernels& k, const StreamShape& s, std::int64_t rows,
                    std::int64_t block, const Floats& x, const Floats& fn) {
  const std::int64_t K = s.K();
  const auto size = [](std::int64_t count) { return static_cast<std::size_t>(count); };
  const Floats by_terms = packed(by_terms_size(s), pack_by_terms, s, fn);
  const Floats pre = normals(rows * s.n, 4), post = normals(rows * s.n, 5);
  const Floats comb = normals(rows * s.n * s.n, 6), out = normals(rows * s.C, 7);
  Forward f{Floats(size(rows * s.J)), Floats(size(rows)), Floats(size(rows * s.C)),
            Floats(size(rows * K))};
  for (std::int64_t i = 0; i < rows; i += block) {
    const std::int64_t some = std::min(block, rows - i);
    k.project(s, some, x.data() + i * K, by_terms.data(), f.u.data() + i * s.J,
              f.squares.data() + i, {{{x.data() + i * K, some * K}}});
    k.read(some, s.n, s.C, x.data() + i * K, pre.data() + i * s.n, f.read.data() + i * s.C);
    k.expand({.rows = some,
              .n = s.n,
              .C = s.C,
              .x = x.data() + i * K,
              .out = out.data() + i * s.C,
              .post = post.data() + i * s.n,
              .comb = comb.data() + i * s.n * s.n,
              .y = f.y.data() + i * K,
              .past = nullptr});
  }
  return f;
}

TEST(Streams, ForwardDependsOnTheRowAlone) {
  constexpr std::int64_t kRows = 13;
  for (const StreamShape& s : shapes()) {
    const Floats x = normals(kRows * s.K(), 1), fn = normals(s.J * s.K(), 2);
    const Forward want = run_forward(stream_kernels_base(), s, kRows, 1, x, fn);
    for (std::int64_t i = 0; i < kRows; ++i) {
      const float* row = x.data() + i * s.K();
      const double scale = std::sqrt(static_cast<double>(s.K())) * 4.0;
      expect_near(want.squares[static_cast<std::size_t>(i)], strided_dot(row, row, s.K()),
                  static_cast<double>(s.K()), s);
      for (std::int64_t j = 0; j < s.J; ++j) {
        expect_near(want.u[static_cast<std::size_t>(i * s.J + j)],
                    strided_dot(row, fn.data() + j * s.K(), s.K()), scale, s);
      }
    }
    for (const StreamKernels* k : all_kernels()) {
      for (const std::int64_t block : {1, 3, 8}) {
        const Forward got = run_forward(*k, s, kRows, block, x, fn);
        EXPECT_EQ(got.u, want.u) << k->name << " n=" << s.n << " C=" << s.C;
        EXPECT_EQ(got.squares, want.squares) << k->name << " n=" << s.n << " C=" << s.C;
        EXPECT_EQ(got.read, want.read) << k->name << " n=" << s.n << " C=" << s.C;
        EXPECT_EQ(got.y, want.y) << k->name << " n=" << s.n << " C=" << s.C;
      }
    }
  }
}

// Two blocks of rows, the second adds to dfn.
TEST(Streams, CollapseBackwardMatchesItsFormula) {
  constexpr std::int64_t kRows = 29;
  for (const StreamShape& s : shapes()) {
    const std::int64_t K = s.K();
    const Floats x = normals(kRows * K, 1), fn = normals(s.J * K, 2), g = normals(kRows * s.J, 3);
    const Floats k = normals(kRows, 4), pre = normals(kRows * s.n, 5);
    const Floats dread = normals(kRows * s.C, 6), before = normals(kRows * K, 7);
    const Floats by_panels = packed(by_panels_size(s), pack_by_panels, s, fn);
    for (const StreamKernels* kernels : all_kernels()) {
      Floats dx(x.size(), std::numeric_limits<float>::quiet_NaN());
      Floats dfn(by_panels.size(), std::numeric_limits<float>::quiet_NaN());
      for (std::int64_t i = 0; i < kRows; i += kBackwardRows) {
        kernels->collapse_backward({.shape = s,
                                    .rows = std::min(kBackwardRows, kRows - i),
                                    .x = x.data() + i * K,
                                    .g = g.data() + i * s.J,
                                    .k = k.data() + i,
                                    .pre = pre.data() + i * s.n,
                                    .dread = dread.data() + i * s.C,
                                    .fn = by_panels.data(),
                                    .dx_in = before.data() + i * K,
                                    .dx = dx.data() + i * K,
                                    .dfn = dfn.data(),
                                    .dfn_add = i > 0,
                                    .ahead = {{{x.data(), K}}}});
      }
      const double scale = std::sqrt(static_cast<double>(s.J)) + 3.0;
      for (std::int64_t i = 0; i < kRows; ++i) {
        for (std::int64_t at = 0; at < K; ++at) {
          const std::int64_t j = at / s.C, c = at % s.C;
          const auto f = [](const Floats& v, std::int64_t index) {
            return double{v[static_cast<std::size_t>(index)]};
          };
          expect_near(dx[static_cast<std::size_t>(i * K + at)],
                      f(before, i * K + at) + f(pre, i * s.n + j) * f(dread, i * s.C + c) -
                          f(k, i) * f(x, i * K + at) +
                          strided_dot(g.data() + i * s.J, fn.data() + at, s.J, 1, K),
                      4.0 * scale, s);
        }
      }
      const std::int64_t panels = (s.C + kStreamPanel - 1) / kStreamPanel;
      for (std::int64_t j = 0; j < s.J; ++j) {
        for (std::int64_t at = 0; at < K; ++at) {
          const std::int64_t panel = at / s.C * panels + at % s.C / kStreamPanel;
          const std::int64_t place = (panel * s.J + j) * kStreamPanel + at % s.C % kStreamPanel;
          expect_near(dfn[static_cast<std::size_t>(place)],
                      strided_dot(g.data() + j, x.data() + at, kRows, s.J, K), 20.0, s);
        }
      }
    }
  }
}

}  // namespace
}  // namespace shoal::testing

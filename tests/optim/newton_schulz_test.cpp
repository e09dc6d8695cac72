#include "optim/newton_schulz.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/optim/testing.h"

namespace shoal {
namespace {

using testing::MatrixD;
using testing::MatrixF;

MatrixD orthonormal_columns(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  const MatrixD x = testing::random_matrix(rows, columns, seed).cast<double>();
  const Eigen::HouseholderQR<MatrixD> qr(x);
  return qr.householderQ() * MatrixD::Identity(rows, columns);
}

struct Spectrum {
  MatrixD u, v;  // Z = u diag(values) v^T
  Eigen::VectorXd values;
  MatrixF z() const { return (u * values.asDiagonal() * v.transpose()).cast<float>(); }
  // What became of singular value i.
  double lifted(const MatrixF& o, std::int64_t i) const {
    return u.col(i).dot(o.cast<double>() * v.col(i));
  }
};

// Small values as given, and one large one that makes the Frobenius norm 1.
Spectrum spectrum(std::int64_t rows, std::int64_t columns, const std::vector<double>& small) {
  const std::int64_t count = static_cast<std::int64_t>(small.size()) + 1;
  Spectrum s{orthonormal_columns(rows, count, 11), orthonormal_columns(columns, count, 12),
             Eigen::VectorXd(count)};
  double squares = 0.0;
  for (std::int64_t i = 0; i + 1 < count; ++i) {
    s.values[i] = small[static_cast<std::size_t>(i)];
    squares += s.values[i] * s.values[i];
  }
  s.values[count - 1] = std::sqrt(1.0 - squares);
  return s;
}

void begin(const PolarWork& work, MatrixRows& rows) {
  for (std::int64_t i = 0; i < work.strips(); ++i) work.load(rows, i);
  for (std::int64_t i = 0; i < work.scales(); ++i) work.scale(i);
}
void iterate(PolarWork& work, int step) {
  for (std::int64_t i = 0; i < work.grams(); ++i) work.gram(i);
  for (std::int64_t i = 0; i < work.grams(); ++i) work.polynomial(step, i);
  for (std::int64_t i = 0; i < work.times_blocks(); ++i) work.times(i);
  work.swap();
}

// Spec 13.3, fixture 3: after 8 steps and after 10, in float32.
TEST(NewtonSchulz, LiftsSingularValuesAsPublished) {
  const std::vector<double> start{1e-3, 1e-4, 3e-5, 1e-5};
  const std::vector<double> after_8{0.9179, 1.2023, 0.568, 0.197};
  const std::vector<double> after_10{1.0000, 1.0020, 1.0018, 0.686};
  for (const MatrixSize size :
       {MatrixSize{40, 70}, MatrixSize{200, 120}, MatrixSize{5, 5}, MatrixSize{256, 512}}) {
    const Spectrum s = spectrum(size.rows, size.columns, start);
    testing::MemoryRows rows({s.z()});
    FlatBuffer memory(PolarWork::float_count(size));
    PolarWork work(0, size, memory.data());
    begin(work, rows);
    for (int step = 0; step < PolarWork::kSteps; ++step) {
      iterate(work, step);
      if (step != 7 && step != 9) continue;
      for (std::int64_t i = 0; i < work.strips(); ++i) work.store(rows, i);
      const std::vector<double>& want = step == 7 ? after_8 : after_10;
      for (std::size_t i = 0; i < start.size(); ++i) {
        // A start of 1e-5 is 170 roundings of the largest value: a few per cent are lost there.
        EXPECT_NEAR(s.lifted(rows.out[0], static_cast<std::int64_t>(i)), want[i],
                    start[i] >= 1e-4 ? 2e-3 : 0.02)
            << start[i] << " after " << step + 1 << " steps, " << size.rows << " x "
            << size.columns;
      }
    }
  }
}

TEST(NewtonSchulz, EndsWithinTwoThousandthsOfOrthogonal) {
  std::vector<double> start;
  for (double value = 1e-4; value < 0.4; value *= 1.35) start.push_back(value);
  const Spectrum s = spectrum(64, 100, start);
  const MatrixF o = testing::newton_schulz({s.z()})[0];
  for (std::int64_t i = 0; i < s.values.size(); ++i) {
    EXPECT_GT(s.lifted(o, i), 1.0 - 5e-5) << s.values[i];
    EXPECT_LT(s.lifted(o, i), 1.0021 + 5e-5) << s.values[i];
  }
}

TEST(NewtonSchulz, GivesThePolarFactor) {
  for (const MatrixSize size : {MatrixSize{8, 64}, MatrixSize{64, 8}, MatrixSize{1, 9},
                                MatrixSize{9, 1}, MatrixSize{1, 1}, MatrixSize{100, 231}}) {
    const MatrixF z = testing::random_matrix(size.rows, size.columns, 21);
    const MatrixF o = testing::newton_schulz({z})[0];
    const Eigen::JacobiSVD<MatrixD> svd(z.cast<double>(),
                                        Eigen::ComputeThinU | Eigen::ComputeThinV);
    const MatrixD polar = svd.matrixU() * svd.matrixV().transpose();
    EXPECT_LE((o.cast<double>() - polar).norm(), 2.1e-3 * polar.norm())
        << size.rows << " x " << size.columns;
  }
}

TEST(NewtonSchulz, MatchesTheFormula) {
  for (const MatrixSize size :
       {MatrixSize{3, 3}, MatrixSize{4, 2048}, MatrixSize{2048, 4}, MatrixSize{128, 256},
        MatrixSize{256, 128}, MatrixSize{97, 303}, MatrixSize{130, 130}}) {
    const MatrixF z = testing::random_matrix(size.rows, size.columns, 31) * 1e-3F;
    const MatrixF o = testing::newton_schulz({z})[0];
    const MatrixD want = testing::newton_schulz_reference(z.cast<double>());
    EXPECT_LE((o.cast<double>() - want).norm(), 2e-5 * want.norm())
        << size.rows << " x " << size.columns;
  }
}

TEST(NewtonSchulz, ZeroStaysZeroAndTinyIsScaled) {
  const MatrixF zero = MatrixF::Zero(20, 33);
  const MatrixF z = testing::random_matrix(20, 33, 41);
  // 2^-140 leaves the normal numbers: the squares would vanish in float32, and 1 / norm overflow.
  const MatrixF normal = z.unaryExpr([](float x) { return std::ldexp(std::round(x * 8), -3); });
  const MatrixF tiny = normal.unaryExpr([](float x) { return std::ldexp(x, -140); });
  const std::vector<MatrixF> out = testing::newton_schulz({zero, normal, tiny, normal * 1e15F});
  EXPECT_EQ(out[0], zero);
  EXPECT_LE((out[2] - out[1]).norm(), 1e-6F * out[1].norm());
  EXPECT_LE((out[3] - out[1]).norm(), 1e-5F * out[1].norm());
}

// Whatever the memory held: numbers left behind there could grow, or be subnormal and slow.
TEST(NewtonSchulz, PaddingStaysZero) {
  for (const MatrixSize size : {MatrixSize{21, 35}, MatrixSize{35, 21}, MatrixSize{130, 110}}) {
    testing::MemoryRows rows({testing::random_matrix(size.rows, size.columns, 45)});
    FlatBuffer memory(PolarWork::float_count(size));
    std::fill_n(memory.data(), memory.size(), NAN);
    PolarWork work(0, size, memory.data());
    begin(work, rows);
    for (int step = 0; step < PolarWork::kSteps; ++step) iterate(work, step);
    const float* last = work.x + (panel_count(work.n) - 1) * work.m * kPanel;
    for (std::int64_t k = 0; k < work.m; ++k) {
      for (std::int64_t j = work.n % kPanel; j < kPanel; ++j) {
        ASSERT_EQ(last[k * kPanel + j], 0.0F) << k << ", " << j;
      }
    }
  }
}

TEST(NewtonSchulz, BitsDoNotDependOnThreadsOrCompany) {
  // One that all threads share, some that they take one by one, and odd sizes.
  std::vector<MatrixF> matrices{testing::random_matrix(200, 333, 51)};
  for (std::uint64_t i = 0; i < 9; ++i) {
    matrices.push_back(testing::random_matrix(40 + 3 * static_cast<std::int64_t>(i), 61, 52 + i));
  }
  matrices.push_back(testing::random_matrix(1, 300, 99));
  std::vector<MatrixF> alone;
  for (const MatrixF& m : matrices) alone.push_back(testing::newton_schulz({m})[0]);
  testing::for_thread_counts([&](int threads) {
    const std::vector<MatrixF> out = testing::newton_schulz(matrices);
    for (std::size_t i = 0; i < out.size(); ++i) {
      EXPECT_EQ(out[i], alone[i]) << "matrix " << i << ", " << threads << " threads";
      EXPECT_EQ(testing::newton_schulz({matrices[i]})[0], alone[i]) << threads << " threads";
    }
  });
}

TEST(NewtonSchulz, OneObjectServesAnyThreadCount) {
  testing::MemoryRows rows({testing::random_matrix(120, 100, 61), testing::random_matrix(9, 9, 62),
                            testing::random_matrix(100, 120, 63)});
  NewtonSchulz newton_schulz(rows.sizes());
  newton_schulz.run(rows);
  const std::vector<MatrixF> want = rows.out;
  testing::for_thread_counts([&](int threads) {
    for (MatrixF& m : rows.out) m.setZero();
    newton_schulz.run(rows);
    for (std::size_t i = 0; i < want.size(); ++i) EXPECT_EQ(rows.out[i], want[i]) << threads;
  });
}

TEST(NewtonSchulz, CountsFlops) {
  // 10 steps of 2 n n m + 2 n n n + 2 n n m.
  EXPECT_EQ(NewtonSchulz({{3, 5}, {5, 3}}).flops(), 2 * 10.0 * (90 + 54 + 90));
}

}  // namespace
}  // namespace shoal

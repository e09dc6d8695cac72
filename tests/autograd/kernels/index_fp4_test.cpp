#include "autograd/kernels/index_fp4.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "autograd/base/rng.h"
#include "autograd/kernels/fp4.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/weigh_heads.h"

namespace shoal::testing {
namespace {

using Floats = std::vector<float>;
std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

std::vector<const IndexKernel*> all_kernels() {
  std::vector<const IndexKernel*> all{&index_kernel_scalar()};
  if (index_kernel_avx2() != nullptr) all.push_back(index_kernel_avx2());
  if (index_kernel_vnni() != nullptr) all.push_back(index_kernel_vnni());
  return all;
}

struct Problem {
  std::int64_t M, H, D;
  Floats keys, q, weight;

  Problem(std::int64_t keys_count, std::int64_t heads, std::int64_t width)
      : M(keys_count), H(heads), D(width), keys(size(M * D)), q(size(H * D)), weight(size(H)) {
    const Rng rng(static_cast<std::uint64_t>(M * 131 + H * 17 + D), Purpose::kTest);
    std::uint64_t i = 0;
    for (Floats* x : {&keys, &q, &weight}) {
      for (float& v : *x) v = static_cast<float>(rng.normal(i++));
    }
  }
};

struct Packed {
  std::vector<std::uint8_t> codes, scales;
  PackedKeys keys;
  explicit Packed(const Problem& p) {
    keys.D = p.D;
    codes.resize(size(keys.code_bytes(p.M)), 0xaa);
    scales.resize(size(keys.scale_bytes(p.M)), 0xaa);
    keys.codes = codes.data();
    keys.scales = scales.data();
    // In pieces, as a cache grows.
    for (std::int64_t first = 0, n = 1; first < p.M; first += n, n = 2 * n + 1) {
      pack_keys(p.keys.data() + first * p.D, first, std::min(n, p.M - first), keys);
    }
  }
};

Floats scores_of(const Problem& p, const PackedKeys& keys, const IndexKernel& kernel,
                 std::int64_t* whole = nullptr) {
  std::vector<std::uint8_t> memory(size(StripScores::bytes(p.H, keys)) + 64);
  std::vector<std::uint8_t> row(size(StripScores::query_bytes(p.H, keys)));
  StripScores strips(keys, p.M, p.H, kernel, memory.data());
  const float scale = 1.0F / std::sqrt(static_cast<float>(p.H * p.D));
  const auto query = strips.prepare(p.q.data(), p.weight.data(), scale, row.data());
  Floats all;
  for (std::int64_t first = 0; first < p.M; first += kKeyStrip) {
    float out[kKeyStrip];
    strips.open(first);
    strips.score(query, out);
    if (whole != nullptr) *whole += query.fits && strips.is_whole() ? 1 : 0;
    all.insert(all.end(), out, out + std::min(kKeyStrip, p.M - first));
  }
  return all;
}

Floats float_scores(const Problem& p) {
  Floats keys(p.keys.size()), q(p.q.size()), dots(size(p.H * p.M)), out(size(p.M));
  fp4_round(p.keys.data(), p.M, p.D, keys.data());
  fp4_round(p.q.data(), p.H, p.D, q.data());
  gemm(gemm_forward(p.H, p.M, p.D, q.data(), keys.data(), dots.data()));
  weigh_heads(dots.data(), p.M, p.weight.data(), p.H,
              1.0F / std::sqrt(static_cast<float>(p.H * p.D)), 0, p.M, out.data());
  return out;
}

// -> how many strips whole numbers computed, of how many
void expect_equal_bits(const Problem& p, const char* what, std::int64_t at_least_whole) {
  const Packed packed(p);
  const Floats want = float_scores(p);
  Floats unpacked(p.keys.size()), rounded(p.keys.size());
  unpack_keys(packed.keys, 0, p.M, unpacked.data());
  fp4_round(p.keys.data(), p.M, p.D, rounded.data());
  for (std::size_t i = 0; i < rounded.size(); ++i) {
    // One block that is not finite makes all of a packed key NaN.
    ASSERT_TRUE(unpacked[i] == rounded[i] || std::isnan(unpacked[i])) << what << " key " << i;
    if (std::isnan(unpacked[i])) {
      const auto* key = rounded.data() + i / size(p.D) * size(p.D);
      ASSERT_TRUE(std::any_of(key, key + p.D, [](float x) { return std::isnan(x); })) << what;
    }
  }
  for (const IndexKernel* kernel : all_kernels()) {
    std::int64_t whole = 0;
    const Floats got = scores_of(p, packed.keys, *kernel, &whole);
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (std::isnan(want[i]) && std::isnan(got[i])) continue;
      ASSERT_EQ(std::bit_cast<std::uint32_t>(got[i]), std::bit_cast<std::uint32_t>(want[i]))
          << what << ", " << kernel->name << ", key " << i << " of " << p.M << ", " << p.H
          << " heads of " << p.D << ": " << got[i] << " and " << want[i];
    }
    ASSERT_GE(whole, at_least_whole) << what << ", " << kernel->name;
  }
}

TEST(IndexFp4, WholeNumbersGiveTheBitsOfFloat32) {
  for (const std::int64_t D : {1, 2, 4, 8, 16, 32, 64, 128, 256, 1024}) {
    for (const std::int64_t H : {1, 3, 4, 6, 7, 11, 64}) {
      for (const std::int64_t M : {1, 15, 16, 17, 63, 64, 65, 200}) {
        if (D * H * M > 2000000) continue;
        expect_equal_bits(Problem(M, H, D), "normal numbers", (M + 63) / 64);
      }
    }
  }
}

// Blocks whose scales differ by 0 .. 3 powers of two, in keys and queries.
TEST(IndexFp4, ScalesThatDifferAreShifts) {
  for (const std::int64_t D : {64, 128, 256}) {
    Problem p(300, 6, D);
    const Rng rng(4, Purpose::kTest);
    for (Floats* x : {&p.keys, &p.q}) {
      for (std::size_t i = 0; i < x->size(); ++i) {
        // One magnitude in a block, so that its scale is known.
        const int shift = static_cast<int>(rng.below(i / 32, 4));
        (*x)[i] =
            std::ldexp(std::copysign(1.0F + 0.49F * std::fabs(std::sin((*x)[i])), (*x)[i]), shift);
      }
    }
    expect_equal_bits(p, "shifted blocks", 5);
  }
}

TEST(IndexFp4, OneVectorThatDoesNotFitIsLeftToFloat32) {
  const float far = 1000.0F;
  for (const std::int64_t D : {64, 128}) {
    Problem key(200, 5, D), query(200, 5, D);
    key.keys[size(100 * D + 3)] = far;
    expect_equal_bits(key, "a key with distant scales", 3);
    query.q[size(2 * D + 40)] = far;
    expect_equal_bits(query, "a query with distant scales", 0);
  }
}

TEST(IndexFp4, ZerosExtremesAndNumbersThatAreNotFinite) {
  const std::vector<std::pair<const char*, std::function<void(Problem&)>>> changes = {
      {"a block of zeros", [](Problem& p) { std::fill_n(p.keys.data() + 7 * p.D, 32, 0.0F); }},
      {"a key of zeros", [](Problem& p) { std::fill_n(p.keys.data() + 7 * p.D, p.D, 0.0F); }},
      {"a query of zeros", [](Problem& p) { std::fill(p.q.begin(), p.q.end(), 0.0F); }},
      {"weights of zero", [](Problem& p) { p.weight[0] = 0.0F, p.weight[1] = -0.0F; }},
      {"negative weights",
       [](Problem& p) {
         for (float& w : p.weight) w = -std::fabs(w);
       }},
      {"tiny weights",
       [](Problem& p) {
         for (float& w : p.weight) w *= 1e-38F;
       }},
      {"subnormal weight", [](Problem& p) { p.weight[0] = 1e-42F; }},
      {"huge weights",
       [](Problem& p) {
         for (float& w : p.weight) w *= 1e36F;
       }},
      {"tiny keys",
       [](Problem& p) {
         for (float& x : p.keys) x *= 1e-35F;
       }},
      {"subnormal keys",
       [](Problem& p) {
         for (float& x : p.keys) x *= 1e-42F;
       }},
      {"huge keys",
       [](Problem& p) {
         for (float& x : p.keys) x *= 1e30F;
       }},
      {"tiny queries",
       [](Problem& p) {
         for (float& x : p.q) x *= 1e-36F;
       }},
      {"tiny everything",
       [](Problem& p) {
         for (float& x : p.q) x *= 1e-20F;
         for (float& x : p.keys) x *= 1e-20F;
         for (float& w : p.weight) w *= 1e-3F;
       }},
      {"a key that is not finite",
       [](Problem& p) { p.keys[70] = std::numeric_limits<float>::infinity(); }},
      {"a query that is not finite", [](Problem& p) { p.q[1] = std::nanf(""); }},
      {"a weight that is not finite", [](Problem& p) { p.weight[1] = std::nanf(""); }},
  };
  for (const auto& [what, change] : changes) {
    for (const std::int64_t D : {32, 128}) {
      Problem p(130, 4, D);
      change(p);
      expect_equal_bits(p, what, 0);
    }
  }
}

TEST(IndexFp4, AKeyOf128DimensionsTakes68Bytes) {
  const PackedKeys keys{nullptr, nullptr, 128};
  EXPECT_EQ(keys.code_bytes(16) + keys.scale_bytes(16), 16 * 68);
}

}  // namespace
}  // namespace shoal::testing

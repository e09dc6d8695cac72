#include "autograd/ops/index_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/base/parallel.h"
#include "autograd/base/rng.h"
#include "autograd/kernels/fp4.h"
#include "autograd/kernels/fp8.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/weigh_heads.h"

namespace shoal::testing {
namespace {

struct Case {
  std::int64_t N, H, D, rate, k;
  std::int64_t documents = 1;
};

struct Inputs {
  Tensor q, key, weight, begin, count;
  std::int64_t M = 0;

  // `ties`: few different numbers, so that many scores are equal.
  Inputs(Tape& tape, const Case& c, bool ties) {
    begin = tape.alloc({c.N}, DType::kI32);
    count = tape.alloc({c.N}, DType::kI32);
    const std::int64_t length = c.N / c.documents;
    for (std::int64_t n = 0; n < c.N; ++n) {
      const std::int64_t document = std::min(n / length, c.documents - 1);
      begin.as<std::int32_t>()[n] = static_cast<std::int32_t>(document * (length / c.rate));
      count.as<std::int32_t>()[n] = static_cast<std::int32_t>((n - document * length + 1) / c.rate);
      M = std::max<std::int64_t>(M, begin.as<std::int32_t>()[n] + count.as<std::int32_t>()[n]);
    }
    std::uint64_t seed = 1;
    for (auto [x, shape] : {std::pair{&q, Shape{c.N, c.H * c.D}},
                            {&key, Shape{M, c.D}},
                            {&weight, Shape{c.N, c.H}}}) {
      *x = tape.alloc(shape);
      const Rng rng(seed++, Purpose::kTest);
      for (std::int64_t i = 0; i < shape.numel(); ++i) {
        const double z = rng.normal(static_cast<std::uint64_t>(i));
        x->as<float>()[i] = static_cast<float>(ties ? std::round(z) : z);
      }
    }
  }
};

// The definition: all scores in float32 of the rounded numbers, rounded to bfloat16, sorted.
std::vector<std::int32_t> by_sorting(const Inputs& in, const Case& c) {
  std::vector<float> q(static_cast<std::size_t>(c.N * c.H * c.D));
  std::vector<float> keys(static_cast<std::size_t>(in.M * c.D));
  fp4_round(in.q.as<float>(), c.N * c.H, c.D, q.data());
  fp4_round(in.key.as<float>(), in.M, c.D, keys.data());
  std::vector<std::int32_t> chosen;
  const float scale = 1.0F / std::sqrt(static_cast<float>(c.H * c.D));
  for (std::int64_t n = 0; n < c.N; ++n) {
    std::vector<float> dots(static_cast<std::size_t>(c.H * in.M)),
        scores(static_cast<std::size_t>(in.M));
    gemm(gemm_forward(c.H, in.M, c.D, q.data() + n * c.H * c.D, keys.data(), dots.data()));
    weigh_heads(dots.data(), in.M, in.weight.row(n), c.H, scale, 0, in.M, scores.data());
    const std::int32_t begin = in.begin.as<std::int32_t>()[n],
                       count = in.count.as<std::int32_t>()[n];
    std::vector<std::int32_t> order;
    for (std::int32_t i = begin; i < begin + count; ++i) order.push_back(i);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return round_to_bf16(scores[static_cast<std::size_t>(a)]) >
             round_to_bf16(scores[static_cast<std::size_t>(b)]);
    });
    order.resize(std::min(order.size(), static_cast<std::size_t>(c.k)));
    std::sort(order.begin(), order.end());
    order.resize(static_cast<std::size_t>(c.k), -1);
    chosen.insert(chosen.end(), order.begin(), order.end());
  }
  return chosen;
}

TEST(IndexChoiceFp4, EqualsSortingTheFloat32ScoresOfTheRoundedNumbers) {
  for (const Case& c : {Case{70, 4, 32, 4, 5}, Case{300, 3, 64, 2, 20, 3}, Case{130, 64, 128, 1, 9},
                        Case{500, 1, 16, 1, 64, 2}, Case{33, 2, 1, 1, 3}}) {
    for (const bool ties : {false, true}) {
      Tape tape;
      const Inputs in(tape, c, ties);
      const std::vector<std::int32_t> want = by_sorting(in, c);
      const PackedKeys keys = pack_keys(tape, in.key);
      for (const int threads : {1, 2, 3}) {
        set_thread_count(threads);
        const Tensor chosen =
            choose_entries_fp4(tape, {in.q, {}, in.weight, in.begin, in.count}, keys, c.k);
        for (std::size_t i = 0; i < want.size(); ++i) {
          ASSERT_EQ(chosen.as<std::int32_t>()[i], want[i])
              << "row " << i / static_cast<std::size_t>(c.k) << " of " << c.N << ", " << c.H
              << " heads of " << c.D << (ties ? ", with ties" : "");
        }
      }
      set_threads_from_environment();
    }
  }
}

}  // namespace
}  // namespace shoal::testing

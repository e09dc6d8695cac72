#include "autograd/ops/indexer.h"

#include <cstring>

#include "autograd/base/parallel.h"
#include "autograd/kernels/top_k.h"
#include "autograd/ops/linear.h"
#include "tests/autograd/ops/documents.h"

namespace shoal::testing {
namespace {

struct Sizes {
  const char* what;
  std::int64_t N, H, D;  // of the indexer
  std::int64_t HT, DT;   // of the teacher
  std::int64_t rate, k;  // k = 0: all visible entries
  Integers starts;
  std::int64_t padding = 0;  // last rows that count nothing
};

double score(const std::vector<Doubles>& in, const Sizes& s, std::int64_t n, std::int64_t i) {
  double sum = 0.0;
  for (std::int64_t h = 0; h < s.H; ++h) {
    const double z = dot(in[0].data() + (n * s.H + h) * s.D, in[1].data() + i * s.D, s.D);
    sum += in[2][static_cast<std::size_t>(n * s.H + h)] * std::max(0.0, z);
  }
  return sum / std::sqrt(static_cast<double>(s.H * s.D));
}

// Spec 3.2: KL of the teacher's distribution and the indexer's, and of the teacher's and a uniform
// one.  Inputs: q, key, weight; the teacher's q, value, lse.
std::vector<Doubles> reference(const std::vector<Doubles>& in, const Sizes& s, const Blocks& blocks,
                               const Integers& chosen, const Integers& valid) {
  double kl = 0.0, uniform = 0.0;
  for (std::int64_t n = 0; n < s.N; ++n) {
    const auto at = static_cast<std::size_t>(n);
    const Integers entries = entries_of_row(blocks.begin, blocks.count, chosen, s.k, at);
    if (entries.empty() || valid[at] == 0) continue;
    Doubles p, scores;
    double sum_p = 0.0, below = 0.0;
    for (const std::int32_t i : entries) {
      p.push_back(0.0);
      for (std::int64_t h = 0; h < s.HT; ++h) {
        const double z = dot(in[3].data() + (n * s.HT + h) * s.DT, in[4].data() + i * s.DT, s.DT);
        p.back() += std::exp(z / std::sqrt(static_cast<double>(s.DT)) -
                             in[5][static_cast<std::size_t>(n * s.HT + h)]);
      }
      sum_p += p.back();
      scores.push_back(score(in, s, n, i));
    }
    const double top = *std::max_element(scores.begin(), scores.end());
    for (double& one : scores) below += std::exp(one -= top);
    for (std::size_t j = 0; j < p.size(); ++j) {
      p[j] /= sum_p;
      kl += p[j] * (std::log(p[j]) - scores[j] + std::log(below));
      uniform += p[j] * (std::log(p[j]) + std::log(static_cast<double>(p.size())));
    }
  }
  return {{kl}, {uniform}};
}

IndexScores scores_of(Tape& tape, const std::vector<Tensor>& in, const Blocks& blocks) {
  return {in[0], in[1], in[2], integers(tape, blocks.begin), integers(tape, blocks.count)};
}

GRADIENT_CASES(IndexLoss) {
  std::vector<GradCase> cases;
  for (const Sizes& s : {
           Sizes{"one entry", 1, 1, 1, 1, 1, 1, 0, {0}},
           Sizes{"two rows", 2, 1, 1, 1, 1, 1, 0, {0}},
           Sizes{"ranges", 13, 3, 4, 2, 3, 2, 0, {0}},
           Sizes{"one head", 9, 1, 5, 1, 2, 2, 0, {0}},
           Sizes{"documents", 41, 2, 3, 3, 2, 3, 0, {0, 2, 20, 39}},
           Sizes{"several blocks", 70, 2, 2, 1, 3, 4, 0, {0, 50}},
           Sizes{"padding", 21, 2, 3, 1, 2, 2, 0, {0, 11}, 10},
           Sizes{"nobody sees an entry", 3, 2, 3, 2, 2, 4, 0, {0}},
           Sizes{"padding alone", 6, 2, 3, 2, 2, 2, 0, {0}, 6},
           Sizes{"one chosen", 9, 2, 3, 2, 2, 2, 1, {0}},
           Sizes{"chosen", 23, 3, 2, 2, 3, 2, 4, {0}},
           Sizes{"chosen of documents", 41, 2, 3, 3, 2, 2, 3, {0, 2, 20, 39}, 2},
           Sizes{"more slots than entries", 11, 2, 3, 1, 2, 3, 7, {0}},
       }) {
    const auto blocks = std::make_shared<Blocks>(Documents(s.N, s.starts), s.rate);
    const Integers chosen =
        s.k > 0 ? random_choice(blocks->begin, blocks->count, s.k, 4) : Integers{};
    Integers valid(static_cast<std::size_t>(s.N), 1);
    std::fill_n(valid.rbegin(), s.padding, 0);
    const std::int64_t M = blocks->size();
    cases.push_back(
        {.name = concat("index_loss, ", s.what, ", N=", s.N),
         .inputs =
             {{s.N, s.H * s.D}, {M, s.D}, {s.N, s.H}, {s.N, s.HT * s.DT}, {M, s.DT}, {s.N, s.HT}},
         .op =
             [=](Tape& tape, const std::vector<Tensor>& in) {
               const Tensor list = s.k > 0 ? integers(tape, chosen, {s.N, s.k}) : Tensor{};
               const IndexLoss loss =
                   index_loss(tape, scores_of(tape, in, *blocks), {in[3], in[4], in[5]}, list,
                              integers(tape, valid));
               return std::vector<Tensor>{loss.kl, loss.uniform};
             },
         .reference =
             [=](const std::vector<Doubles>& in) {
               return reference(in, s, *blocks, chosen, valid);
             },
         // Larger heads' products make scores that differ.
         .values = {{0, normal(2.0, 0.1)}, {2, normal(1.5, 0.2, 12)}},
         .constants = {3, 4, 5}});
  }
  return cases;
}

// The indexer's inputs of index_loss() and then the teacher's, HT heads of width DT.
Leaves loss_inputs(std::int64_t N, std::int64_t H, std::int64_t D, std::int64_t M,
                   std::int64_t HT = 1, std::int64_t DT = 3) {
  return Leaves({{N, H * D}, {M, D}, {N, H}, {N, HT * DT}, {M, DT}, {N, HT}});
}

// The derivative of a row's KL by its scores is softmax - p, which sums to zero (spec 13.3). Seen
// through a coordinate in which every key is 1 while all products are positive: its gradient is
// weight times that sum.
TEST(IndexLoss, AQuerysGradientsSumToZero) {
  constexpr std::int64_t N = 30, H = 2, D = 4;
  const Blocks blocks(Documents(N, {0, 17}), 2);
  for (const std::int64_t k : {0, 3}) {
    Tape tape({1 << 26, 1 << 26});
    Leaves inputs = loss_inputs(N, H, D, blocks.size());
    for (std::size_t i = 0; i < 2; ++i) {
      for (std::size_t j = D - 1; j < inputs.values[i].size(); j += D) {
        inputs.values[i][j] = i == 0 ? 30.0F : 1.0F;
      }
    }
    const std::vector<Tensor> in = inputs.on(tape);
    const Tensor chosen =
        k > 0 ? integers(tape, random_choice(blocks.begin, blocks.count, k, 4), {N, k}) : Tensor{};
    const Integers valid(N, 1);
    const IndexLoss loss = index_loss(tape, scores_of(tape, in, blocks), {in[3], in[4], in[5]},
                                      chosen, integers(tape, valid));
    EXPECT_GT(*loss.kl.as<float>(), 0.1F);
    EXPECT_GT(*loss.uniform.as<float>(), 0.1F);
    tape.backward(loss.kl);
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t h = 0; h < H; ++h) {
        const float* dq = inputs.grads[0].data() + (n * H + h) * D;
        EXPECT_NEAR(dq[D - 1], 0.0, 1e-6) << n;
        if (blocks.count[static_cast<std::size_t>(n)] > 1) {
          EXPECT_GT(std::abs(dq[0]) + std::abs(dq[1]) + std::abs(dq[2]), 1e-4) << n;
        }
      }
    }
    // The teacher learns nothing.
    for (std::size_t i = 3; i < 6; ++i) EXPECT_FALSE(inputs.params[i].grad_written);
  }
}

// Of a single entry teacher and indexer both say 1: no loss and no gradient, not even rounding,
// which an optimizer that divides by its size would follow.
TEST(IndexLoss, ASingleEntryTeachesNothing) {
  constexpr std::int64_t N = 40, H = 2, D = 3;
  const Blocks blocks(Documents(N, {0, 17}), 2);
  Tape tape({1 << 26, 1 << 26});
  Leaves inputs = loss_inputs(N, H, D, blocks.size());
  const std::vector<Tensor> in = inputs.on(tape);
  const Tensor chosen = integers(tape, random_choice(blocks.begin, blocks.count, 1, 4), {N, 1});
  const IndexLoss loss = index_loss(tape, scores_of(tape, in, blocks), {in[3], in[4], in[5]},
                                    chosen, integers(tape, Integers(N, 1)));
  EXPECT_EQ(*loss.kl.as<float>(), 0.0F);
  EXPECT_EQ(*loss.uniform.as<float>(), 0.0F);
  tape.backward(loss.kl);
  for (std::size_t i = 0; i < 3; ++i) {
    for (const float g : inputs.grads[i]) ASSERT_EQ(g, 0.0F) << i;
  }
}

// A list of all is the range, except for the gradient of keys, which a list adds up query by query.
TEST(IndexLoss, AListOfAllEqualsTheRange) {
  constexpr std::int64_t N = 100, H = 3, D = 5, HT = 2, DT = 7, k = 40;
  const Blocks blocks(Documents(N, {0, 41, 42}), 3);
  const auto run = [&](bool list) {
    Tape tape({1 << 26, 1 << 26});
    Leaves inputs = loss_inputs(N, H, D, blocks.size(), HT, DT);
    const std::vector<Tensor> in = inputs.on(tape);
    const Tensor chosen =
        list ? integers(tape, random_choice(blocks.begin, blocks.count, k, 4), {N, k}) : Tensor{};
    const IndexLoss loss = index_loss(tape, scores_of(tape, in, blocks), {in[3], in[4], in[5]},
                                      chosen, integers(tape, Integers(N, 1)));
    tape.backward(loss.kl);
    inputs.grads.push_back({*loss.kl.as<float>(), *loss.uniform.as<float>()});
    return inputs.grads;
  };
  const auto list = run(true), range = run(false);
  for (const std::size_t i : {0, 2, 6}) EXPECT_EQ(list[i], range[i]) << i;
  for (std::size_t i = 0; i < list[1].size(); ++i) EXPECT_NEAR(list[1][i], range[1][i], 1e-5);
}

// Rows and scores for choose_entries(), all numbers small and whole and H * D a power of four, so
// that scores are exact and ties are ties.
struct Choice {
  std::int64_t N, H, D;
  Integers begin, count;
  std::int64_t M;
  std::vector<float> q, key, weight;

  Choice(std::int64_t heads, std::int64_t width, Integers from, Integers many, std::uint64_t seed)
      : N(static_cast<std::int64_t>(from.size())),
        H(heads),
        D(width),
        begin(std::move(from)),
        count(std::move(many)),
        M(begin.back() + count.back()) {
    const auto fill = [&](std::vector<float>& x, std::int64_t size, std::uint64_t stream) {
      for (const std::int32_t v : random_integers(size, 5, seed * 10 + stream)) {
        x.push_back(static_cast<float>(v - 2));
      }
    };
    fill(q, N * H * D, 1);
    fill(key, M * D, 2);
    fill(weight, N * H, 3);
  }

  Integers chosen(std::int64_t k) {
    Tape tape({1 << 26, 1 << 20});
    const auto tensor = [](std::vector<float>& x, Shape shape) {
      return Tensor{x.data(), shape, DType::kF32, kConstant};
    };
    const Tensor t =
        choose_entries(tape,
                       {tensor(q, {N, H * D}), tensor(key, {M, D}), tensor(weight, {N, H}),
                        integers(tape, begin), integers(tape, count)},
                       k);
    EXPECT_EQ(t.shape, (Shape{N, k}));
    return {t.as<std::int32_t>(), t.as<std::int32_t>() + N * k};
  }

  // Sorts all of a row's scores.
  Integers reference(std::int64_t k) const {
    const std::vector<Doubles> in{
        {q.begin(), q.end()}, {key.begin(), key.end()}, {weight.begin(), weight.end()}};
    Sizes s{};
    s.H = H;
    s.D = D;
    Integers all;
    for (std::int64_t n = 0; n < N; ++n) {
      const std::int32_t from = begin[static_cast<std::size_t>(n)];
      std::vector<std::pair<double, std::int32_t>> scores;  // negative: the largest come first
      for (std::int32_t i = from; i < from + count[static_cast<std::size_t>(n)]; ++i) {
        scores.emplace_back(-score(in, s, n, i) + 0.0, i);
      }
      std::sort(scores.begin(), scores.end());
      scores.resize(std::min(scores.size(), static_cast<std::size_t>(k)));
      Integers row;
      for (const auto& one : scores) row.push_back(one.second);
      std::sort(row.begin(), row.end());
      row.resize(static_cast<std::size_t>(k), -1);
      all.insert(all.end(), row.begin(), row.end());
    }
    return all;
  }
};

Choice choice_of(std::int64_t N, std::int64_t rate, const Integers& starts, std::int64_t H,
                 std::int64_t D, std::uint64_t seed) {
  const Blocks blocks(Documents(N, starts), rate);
  return {H, D, blocks.begin, blocks.count, seed};
}

TEST(ChooseEntries, EqualsSortingAllScores) {
  for (const std::int64_t k : {1, 2, 3, 7, 31, 32, 33, 60, 100}) {
    SCOPED_TRACE(k);
    Choice one = choice_of(130, 2, {0}, 1, 4, 1),
           documents = choice_of(131, 1, {0, 1, 40, 128}, 4, 1, 2),
           wide = choice_of(90, 3, {0, 50}, 2, 8, 3);
    for (Choice* c : {&one, &documents, &wide}) EXPECT_EQ(c->chosen(k), c->reference(k));
  }
}

// Scores pass by in tiles of columns: rows that see many tiles, begin inside one, end inside one.
TEST(ChooseEntries, ManyEntries) {
  Integers begin{0, 0, 0, 0, 0, 1500, 1500, 2100, 2100},
      count{0, 1023, 1024, 1025, 1500, 0, 600, 1, 2300};
  for (const std::size_t rows_before : {0, 40}) {  // one block of rows, several
    begin.insert(begin.begin(), rows_before, 0);
    count.insert(count.begin(), rows_before, 0);
    for (const std::int64_t k : {1, 5, 64, 1024, 1400, 5000}) {
      Choice c(2, 2, begin, count, 5);
      EXPECT_EQ(c.chosen(k), c.reference(k)) << k;
    }
  }
}

// Tokens that are decoded after a long context.
TEST(ChooseEntries, ManyEntriesOfFewRows) {
  const int before = thread_count();
  for (const std::int64_t k : {1, 64}) {
    Choice one(4, 16, {10}, {70000}, 9), few(4, 16, {0, 0, 5}, {33000, 40000, 41000}, 10);
    for (Choice* c : {&one, &few}) {
      const Integers want = c->reference(k);
      for (const int threads : {1, 2, 3}) {
        set_thread_count(threads);
        EXPECT_EQ(c->chosen(k), want) << k << ' ' << threads;
      }
    }
  }
  set_thread_count(before);
}

TEST(ChooseEntries, EqualScoresGiveTheLowest) {
  for (const std::int64_t k : {1, 3, 40}) {
    Choice dead = choice_of(200, 1, {0, 60}, 4, 4, 6);
    std::fill(dead.weight.begin(), dead.weight.end(), 0.0F);
    Integers want;
    for (std::size_t n = 0; n < 200; ++n) {
      for (std::int32_t i = 0; i < k; ++i) {
        want.push_back(i < dead.count[n] ? dead.begin[n] + i : -1);
      }
    }
    EXPECT_EQ(dead.chosen(k), want);
    // All rectified products dead, and -0 equals 0.
    dead = choice_of(200, 1, {0, 60}, 4, 4, 6);
    std::fill(dead.q.begin(), dead.q.end(), -1.0F);
    std::fill(dead.key.begin(), dead.key.end(), 1.0F);
    EXPECT_EQ(dead.chosen(k), want);
    std::fill(dead.key.begin(), dead.key.end(), -1.0F);  // alive, and all alike
    std::fill(dead.weight.begin(), dead.weight.end(), -1.0F);
    EXPECT_EQ(dead.chosen(k), want);
    std::fill(dead.weight.begin(), dead.weight.end(), std::nanf(""));
    EXPECT_EQ(dead.chosen(k), want);
  }
}

TEST(ChooseEntries, AnyThreadCount) {
  Choice c = choice_of(300, 1, {0, 100}, 4, 4, 8);
  const Integers want = c.reference(9);
  const int before = thread_count();
  for (const int threads : {1, 2, 3, 4}) {
    set_thread_count(threads);
    EXPECT_EQ(c.chosen(9), want);
  }
  set_thread_count(before);
}

TEST(ChooseEntries, RefusesShapesThatDoNotFit) {
  Tape tape({1 << 24, 1 << 24});
  const Tensor q = tape.alloc({5, 6}), key = tape.alloc({2, 3}), weight = tape.alloc({5, 2});
  const Tensor rows = tape.alloc({5}, DType::kI32), four = tape.alloc({4}, DType::kI32);
  EXPECT_THROW(choose_entries(tape, {q, key, weight, rows, four}, 1), Error);
  EXPECT_THROW(choose_entries(tape, {q, weight, weight, rows, rows}, 1), Error);
  EXPECT_THROW(choose_entries(tape, {q, key, weight, rows, rows}, 0), Error);
}

// The stream alone, cut in any way, with numbers that are none.
TEST(TopK, EqualsSorting) {
  const float inf = INFINITY, nan = std::nanf("");
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    const Rng rng(seed, Purpose::kTest, 50);
    const auto n = static_cast<std::int64_t>(1 + rng.below(0, 300));
    const auto k = static_cast<std::int64_t>(1 + rng.below(1, 40));
    std::vector<float> scores;
    for (std::int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<std::uint64_t>(i);
      const std::uint64_t kind = rng.below(1000 + at, 8);
      scores.push_back(kind == 0                    ? nan
                       : kind == 1                  ? -inf
                       : kind == 2                  ? static_cast<float>(rng.below(2000 + at, 3))
                       : kind == 3 && seed % 3 == 0 ? inf
                                                    : static_cast<float>(rng.normal(3000 + at)));
    }
    std::vector<TopK::Candidate> memory(static_cast<std::size_t>(2 * k));
    TopK top(memory.data(), k);
    for (std::int64_t i = 0, part = 1; i < n; i += part, part = 1 + part * 3 % 71) {
      top.add(scores.data() + i, std::min(part, n - i), 7 + i);
    }
    Integers got(static_cast<std::size_t>(k), -1);
    EXPECT_EQ(top.finish(got.data()), std::min(k, n));
    std::vector<std::pair<float, std::int32_t>> sorted;
    for (std::int64_t i = 0; i < n; ++i) {
      const float score = scores[static_cast<std::size_t>(i)];
      sorted.emplace_back(std::isnan(score) ? inf : -score, static_cast<std::int32_t>(7 + i));
    }
    std::sort(sorted.begin(), sorted.end());
    Integers want(static_cast<std::size_t>(k), -1);
    for (std::int64_t i = 0; i < std::min(k, n); ++i) {
      want[static_cast<std::size_t>(i)] = sorted[static_cast<std::size_t>(i)].second;
    }
    std::sort(want.begin(), want.begin() + std::min(k, n));
    EXPECT_EQ(got, want) << "seed " << seed << ", " << k << " of " << n;
  }
}

}  // namespace
}  // namespace shoal::testing

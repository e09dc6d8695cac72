#include "autograd/ops/attention.h"

#include <cstring>

#include "autograd/base/parallel.h"
#include "autograd/ops/linear.h"
#include "tests/autograd/ops/documents.h"

namespace shoal::testing {
namespace {

struct Sizes {
  const char* what;
  std::int64_t N, H, D, pairs, window;
  Integers starts;           // first rows of documents
  std::int64_t rate = 0;     // tokens of an entry; 0: no entries
  std::int64_t k = 0;        // entries that a row looks at; 0: all
  std::int64_t earlier = 0;  // rows of kv before the first query
};

// What the rows of a case see. `first` counts rows of kv.
struct Layout {
  Integers first, position, begin, count, chosen;
  std::int64_t M = 0;

  explicit Layout(const Sizes& s) {
    const Documents documents(s.N + s.earlier, s.starts);
    first = last(documents.first, s.N);
    position = last(documents.position, s.N);
    if (s.rate == 0) return;
    const Blocks blocks(documents, s.rate);
    M = blocks.size();
    begin = last(blocks.begin, s.N);
    count = last(blocks.count, s.N);
    if (s.k > 0) chosen = random_choice(begin, count, s.k, 17);
  }
};

// Outputs o and lse.
std::vector<Doubles> reference(const std::vector<Doubles>& in, const Sizes& s, const Rope& rope,
                               const Layout& l) {
  const auto [N, H, D] = std::tuple(s.N, s.H, s.D);
  Doubles o = zeros(N * H * D), lse;
  for (std::int64_t n = 0; n < N; ++n) {
    const auto at = static_cast<std::size_t>(n);
    std::vector<const double*> keys;
    if (s.rate > 0) {
      for (const std::int32_t i : entries_of_row(l.begin, l.count, l.chosen, s.k, at)) {
        keys.push_back(in[3].data() + i * D);
      }
    }
    const std::int64_t own = n + s.earlier;
    for (std::int64_t j = std::max<std::int64_t>(l.first[at], own - s.window + 1); j <= own; ++j) {
      keys.push_back(in[1].data() + j * D);
    }
    for (std::int64_t h = 0; h < H; ++h) {
      const double* q = in[0].data() + (n * H + h) * D;
      double* out = o.data() + (n * H + h) * D;
      double total = std::exp(in[2][static_cast<std::size_t>(h)]);
      for (const double* key : keys) {
        const double weight = std::exp(dot(q, key, D) / std::sqrt(static_cast<double>(D)));
        total += weight;
        for (std::int64_t d = 0; d < D; ++d) out[d] += weight * key[d];
      }
      for (std::int64_t d = 0; d < D; ++d) out[d] /= total;
      rope.turn(out, D, l.position[at], -1.0);
      lse.push_back(std::log(total));
    }
  }
  return {o, lse};
}

GradCase make_case(const Sizes& s) {
  const Layout l(s);
  const auto rope = std::make_shared<Rope>(s.pairs, s.N + s.earlier);
  GradCase c{
      .name =
          concat("attention, ", s.what, ", N=", s.N, " H=", s.H, " D=", s.D, " window=", s.window),
      .inputs = {{s.N, s.H * s.D}, {s.N + s.earlier, s.D}, {s.H}},
      .op =
          [=](Tape& tape, const std::vector<Tensor>& in) {
            Entries entries;
            if (s.rate > 0) {
              entries = {in[3], integers(tape, l.begin), integers(tape, l.count), {}};
              if (s.k > 0) entries.chosen = integers(tape, l.chosen, {s.N, s.k});
            }
            const Attended out =
                attention(tape, in[0], in[1], in[2], integers(tape, l.first),
                          integers(tape, l.position), rope->table(), s.window, entries);
            return std::vector<Tensor>{out.o, out.lse};
          },
      .reference = [=](const std::vector<Doubles>& in) { return reference(in, s, *rope, l); }};
  if (s.rate > 0) c.inputs.push_back({l.M, s.D});
  return c;
}

GRADIENT_CASES(Attention) {
  std::vector<GradCase> cases;
  for (const Sizes& s : {
           Sizes{"one row", 1, 1, 1, 0, 1, {0}},
           Sizes{"window of one", 5, 3, 2, 1, 1, {0}},
           Sizes{"window larger than the text", 7, 2, 5, 2, 100, {0, 3}},
           Sizes{"all of a document", 37, 1, 3, 1, INT32_MAX, {0, 35}},
           Sizes{"several blocks", 70, 2, 4, 1, 5, {0}},
           Sizes{"four documents", 67, 1, 3, 1, 40, {0, 1, 30, 66}},
           Sizes{"width of a vector", 33, 1, 8, 4, 32, {0, 20}},
           Sizes{"earlier rows", 3, 2, 4, 1, 5, {0}, 0, 0, 9},
           Sizes{"earlier rows, one query, new document", 1, 3, 5, 2, 30, {0, 11}, 0, 0, 20},
           Sizes{"an entry a row", 1, 1, 1, 0, 1, {0}, 1},
           Sizes{"entries", 9, 2, 3, 1, 2, {0}, 2},
           Sizes{"entries of documents", 41, 1, 5, 2, 4, {0, 2, 20, 39}, 3},
           Sizes{"more entries than the window", 45, 3, 2, 1, 1, {0}, 2},
           Sizes{"entries and window larger than the text", 34, 1, 4, 2, 99, {0, 33}, 4},
           Sizes{"no entry", 3, 2, 3, 1, 2, {0}, 4},
           Sizes{"entries, earlier rows", 2, 2, 3, 1, 4, {0, 5}, 2, 0, 13},
           Sizes{"one chosen", 19, 2, 3, 1, 3, {0}, 2, 1},
           Sizes{"chosen of documents", 41, 1, 5, 2, 4, {0, 2, 20, 39}, 2, 3},
           Sizes{"chosen, several blocks", 67, 2, 2, 1, 5, {0, 50}, 3, 9},
           Sizes{"more slots than entries", 11, 2, 3, 0, 3, {0}, 3, 7},
           Sizes{"slots without an entry", 3, 1, 2, 1, 3, {0}, 4, 2},
           Sizes{"chosen, earlier rows", 2, 3, 4, 2, 3, {0, 4}, 2, 3, 17},
       }) {
    cases.push_back(make_case(s));
  }
  return cases;
}

using Floats = std::vector<float>;

struct Ran {
  Floats o, lse, dq, dkv, dsink, dentries;
};

Floats random_floats(std::int64_t count, std::uint64_t stream) {
  Floats x;
  for (std::int64_t i = 0; i < count; ++i) {
    x.push_back(
        static_cast<float>(Rng(5, Purpose::kTest, stream).normal(static_cast<std::uint64_t>(i))));
  }
  return x;
}

// The sum of o times fixed numbers, and its gradients.
Ran run(const Sizes& s, const Layout& l) {
  Tape tape({std::size_t{1} << 28, std::size_t{1} << 28});
  Leaves leaves({{s.N, s.H * s.D}, {s.N + s.earlier, s.D}, {s.H}, {l.M, s.D}});
  const std::vector<Tensor> in = leaves.on(tape);
  const Rope rope(s.pairs, s.N + s.earlier);
  Entries entries{in[3], integers(tape, l.begin), integers(tape, l.count), {}};
  if (!l.chosen.empty()) {
    entries.chosen = integers(tape, l.chosen, {s.N, s.k});
  }
  const Attended out = attention(tape, in[0], in[1], in[2], integers(tape, l.first),
                                 integers(tape, l.position), rope.table(), s.window, entries);
  Floats weights = random_floats(out.o.shape.numel(), 9);
  Tensor flat = out.o;
  flat.shape = {1, flat.shape.numel()};
  const Tensor w{weights.data(), flat.shape, DType::kF32, kConstant};
  tape.backward(linear(tape, flat, w));
  const auto copy = [](const Tensor& t) {
    return Floats(t.as<float>(), t.as<float>() + t.shape.numel());
  };
  return {copy(out.o),     copy(out.lse),   leaves.grads[0],
          leaves.grads[1], leaves.grads[2], leaves.grads[3]};
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// A list that names every visible entry is a range written down: the same bits, except for the
// gradient of entries, which a list adds up query by query.
TEST(Attention, AListOfAllEqualsTheRange) {
  const int before = thread_count();
  for (const std::int64_t k : {33, 40}) {  // as many slots as entries, and more
    const Sizes s{"", 100, 3, 7, 2, 9, {0, 41, 42}, 3, k};
    const Layout lists(s);
    Layout ranges(s);
    ranges.chosen.clear();
    for (const std::int32_t count : lists.count) ASSERT_LE(count, k);
    for (const int threads : {1, 3}) {
      set_thread_count(threads);
      const Ran a = run(s, lists), b = run(s, ranges);
      EXPECT_TRUE(same_bits(a.o, b.o));
      EXPECT_TRUE(same_bits(a.lse, b.lse));
      EXPECT_TRUE(same_bits(a.dq, b.dq));
      EXPECT_TRUE(same_bits(a.dkv, b.dkv));
      EXPECT_TRUE(same_bits(a.dsink, b.dsink));
      for (std::size_t i = 0; i < a.dentries.size(); ++i) {
        EXPECT_NEAR(a.dentries[i], b.dentries[i], 1e-5);
      }
    }
  }
  set_thread_count(before);
}

// Whatever stands in keys of other rows and in entries that are not chosen: the same bits.
TEST(Attention, WhatIsNotSeenChangesNothing) {
  Tape tape({1 << 26, 1 << 26});
  const Sizes s{"", 40, 2, 4, 1, 6, {0, 22}, 2, 3};
  const Layout l(s);
  const Rope rope(s.pairs, s.N);
  const auto row_30 = [&](bool others) {
    constexpr std::int64_t kRow = 30;
    Floats q = random_floats(s.N * s.H * s.D, 0), kv = random_floats(s.N * s.D, 1);
    Floats sink = random_floats(s.H, 2), entries = random_floats(l.M * s.D, 3);
    for (std::int64_t j = 0; others && j < s.N; ++j) {
      if (j > kRow || j <= kRow - s.window) std::fill_n(kv.begin() + j * s.D, s.D, 1e30F);
    }
    const auto* chosen = l.chosen.data() + kRow * s.k;
    for (std::int32_t i = 0; others && i < l.M; ++i) {
      if (std::find(chosen, chosen + s.k, i) != chosen + s.k) continue;
      std::fill_n(entries.begin() + i * s.D, s.D, -1e30F);
    }
    const auto tensor = [](Floats& x, Shape shape) {
      return Tensor{x.data(), shape, DType::kF32, kConstant};
    };
    const Tensor o =
        attention(tape, tensor(q, {s.N, s.H * s.D}), tensor(kv, {s.N, s.D}), tensor(sink, {s.H}),
                  integers(tape, l.first), integers(tape, l.position), rope.table(), s.window,
                  {tensor(entries, {l.M, s.D}), integers(tape, l.begin), integers(tape, l.count),
                   integers(tape, l.chosen, {s.N, s.k})})
            .o;
    return Floats(o.row(kRow), o.row(kRow + 1));
  };
  EXPECT_TRUE(same_bits(row_30(true), row_30(false)));
}

TEST(Attention, RefusesShapesThatDoNotFit) {
  Tape tape({1 << 24, 1 << 24});
  const Tensor q = tape.alloc({5, 6}), kv = tape.alloc({5, 3}), sink = tape.alloc({2});
  const Tensor rows = tape.alloc({5}, DType::kI32), four = tape.alloc({4}, DType::kI32);
  const Tensor entries = tape.alloc({2, 3}), wide = tape.alloc({2, 4});
  const auto refused = [&](const Tensor& q1, const Tensor& kv1, const Tensor& first,
                           std::int64_t window, const Entries& e) {
    EXPECT_THROW(attention(tape, q1, kv1, sink, first, rows, {}, window, e), Error);
  };
  refused(kv, q, rows, 3, {});
  refused(q, entries, rows, 3, {});  // fewer keys than queries
  refused(q, kv, four, 3, {});
  refused(q, kv, rows, 0, {});
  refused(q, kv, rows, 3, {wide, rows, rows, {}});
  refused(q, kv, rows, 3, {entries, four, rows, {}});
  refused(q, kv, rows, 3, {entries, rows, four, {}});
  refused(q, kv, rows, 3, {entries, rows, rows, tape.alloc({4, 1}, DType::kI32)});
}

}  // namespace
}  // namespace shoal::testing

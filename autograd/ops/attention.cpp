#include "autograd/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/base/flop_count.h"
#include "autograd/kernels/key_set.h"
#include "autograd/kernels/vec_math.h"
#include "autograd/ops/key_parts.h"

namespace shoal {
namespace {

struct Attention {
  static constexpr std::string_view kName = "attention";
  enum Input { kQ, kKv, kSink, kEntries };
  struct Saved {
    Tensor q, kv, sink, first, position;
    Entries entries;
    Tensor begin, count;  // [N] i32 raw keys of each row
    Tensor lse;           // [N, H]
    Tensor o;             // the output, for D = do . o
    RopeTable rope;
    std::int64_t window;

    std::int64_t N() const { return position.shape.numel(); }
    std::int64_t D() const { return kv.shape.cols(); }
    std::int64_t H() const { return sink.shape.numel(); }
    float scale() const { return 1.0F / std::sqrt(static_cast<float>(D())); }
    KeySet raw() const {
      return {kv.as<float>(), D(), begin.as<std::int32_t>(), count.as<std::int32_t>(), nullptr, 0};
    }
    KeySet compressed() const {
      if (!entries.value) return {};
      return {entries.value.as<float>(),
              D(),
              entries.begin.as<std::int32_t>(),
              entries.count.as<std::int32_t>(),
              entries.chosen ? entries.chosen.as<std::int32_t>() : nullptr,
              entries.chosen ? entries.chosen.shape.cols() : 0};
    }
    QueryBlocks blocks() const {
      const std::int64_t listed = entries.chosen ? entries.chosen.shape.cols() : kMaxKeys;
      const std::int64_t M = entries.value ? std::min(entries.value.shape.rows(), listed) : 0;
      return QueryBlocks(N(), H() * (M + std::min(kv.shape.rows(), window)));
    }
  };
  static constexpr std::int64_t kMaxKeys = INT32_MAX;
  static constexpr std::int64_t kManyKeys = 4096;  // of a row, worth the threads' meeting

  // Rows [n0, n1) of all heads: first the entries' columns, then the raw keys'.
  struct Block {
    std::int64_t n0, n1;
    KeyBlock entries, raw;
    bool mixed;
    Block(const Saved& s, QueryRange r, bool alone = false)
        : n0(r.begin), n1(r.end), mixed(static_cast<bool>(s.entries.value)) {
      if (mixed) entries = KeyBlock(s.compressed(), n0, n1, alone);
      raw = KeyBlock(s.raw(), n0, n1, alone);
    }
    std::int64_t width() const { return entries.width() + raw.width(); }

    void scores(std::int64_t per, const float* a, float* to) const {
      if (mixed) entries.scores(per, a, to, width());
      raw.scores(per, a, to + entries.width(), width());
    }
    void values(std::int64_t per, std::int64_t from, std::int64_t take, const float* weights,
                float* out, bool add) const {
      if (mixed) entries.values(per, from, take, weights, width(), out, add);
      raw.values(per, from, take, weights + entries.width(), width(), out, add || mixed);
    }
    // fn(begin, end) for the two ranges that row n sees; clear(begin, end) for the rest.
    template <class Fn, class Clear>
    void ranges(std::int64_t n, const Fn& fn, const Clear& clear) const {
      const KeyBlock::Columns e = mixed ? entries.columns(n) : KeyBlock::Columns{0, 0};
      KeyBlock::Columns r = raw.columns(n);
      r = {r.begin + entries.width(), r.end + entries.width()};
      clear(0, e.begin);
      fn(e.begin, e.end);
      clear(e.end, r.begin);
      fn(r.begin, r.end);
      clear(r.end, width());
    }
  };

  // `products` for each pair of a row and a key that it looks at, and each head.
  static void count_flops(const Saved& s, double products) {
    if (!FlopCount::is_on()) return;
    const KeySet raw = s.raw(), entries = s.compressed();
    std::int64_t pairs = 0;
    for (std::int64_t n = 0; n < s.N(); ++n) pairs += raw.seen(n) + entries.seen(n);
    FlopCount::add_products(products, pairs, s.H(), s.D());
  }

  static void forward(Tape&, const Saved& s, Outputs y) {
    find_raw_keys(s);  // also in a dry run: the size of backward's sums follows from it
    count_flops(s, 2);
    const std::int64_t D = s.D(), H = s.H(), nope = D - 2 * s.rope.pairs;
    const float scale = s.scale();
    const QueryBlocks blocks = s.blocks();
    // A token that is decoded is one block, however many keys it has: then the threads share those.
    const bool alone = blocks.count() == 1;
    for_tasks(blocks.count(), [&](std::int64_t i) {
      const Block b(s, blocks[i], alone);
      const std::int64_t ld = b.width(), rows = (b.n1 - b.n0) * H;
      auto* p = static_cast<float*>(
          thread_scratch(1, static_cast<std::size_t>(rows * (ld + 2)) * sizeof(float)));
      float* top = p + rows * ld;
      float* sum = top + rows;
      b.scores(H, s.q.row(b.n0), p);
      const auto soften = [&](std::int64_t r0, std::int64_t r1) {
        for (std::int64_t r = r0; r < r1; ++r) {
          float* row = p + r * ld;
          float most = s.sink.as<float>()[r % H];
          const auto raise = [&](std::int64_t begin, std::int64_t end) {
            if (begin < end) most = std::max(most, scale * row_max(row + begin, end - begin));
          };
          b.ranges(b.n0 + r / H, raise, [](std::int64_t, std::int64_t) {});
          b.ranges(
              b.n0 + r / H,
              [&](std::int64_t begin, std::int64_t end) {
#pragma omp simd
                for (std::int64_t j = begin; j < end; ++j) row[j] = fast_exp(scale * row[j] - most);
              },
              [&](std::int64_t begin, std::int64_t end) {
                std::fill(row + begin, row + end, 0.0F);
              });
          top[r] = most;
        }
        sum_rows(p + r0 * ld, ld, r1 - r0, ld, sum + r0);
        for (std::int64_t r = r0; r < r1; ++r) {
          const float total = sum[r] + fast_exp(s.sink.as<float>()[r % H] - top[r]);
          s.lse.as<float>()[b.n0 * H + r] = top[r] + std::log(total);
          const float inv = 1.0F / total;
          float* row = p + r * ld;
#pragma omp simd
          for (std::int64_t j = 0; j < ld; ++j) row[j] *= inv;
        }
      };
      if (alone && ld >= kManyKeys) {
        for_tasks(rows, [&](std::int64_t r) { soften(r, r + 1); });
      } else {
        soften(0, rows);
      }
      b.values(H, 0, H, p, y[0].row(b.n0), false);
      turn(s, b.n0, b.n1, y[0].row(b.n0), H * D, D, nope, -1.0F);
    });
  }

  // The heads of rows [n0, n1) at `x`, `stride` floats from row to row.
  static void turn(const Saved& s, std::int64_t n0, std::int64_t n1, float* x, std::int64_t stride,
                   std::int64_t D, std::int64_t nope, float sign) {
    for (std::int64_t n = n0; n < n1; ++n) {
      const float* cos_sin = s.rope.at(s.position.as<std::int32_t>()[n]);
      for (std::int64_t h = 0; h < s.H(); ++h) {
        rotate_pairs(x + (n - n0) * stride + h * D + nope, cos_sin, s.rope.pairs, sign);
      }
    }
  }

  static void find_raw_keys(const Saved& s) {
    const std::int64_t earlier = s.kv.shape.rows() - s.N();
    for (std::int64_t n = 0; n < s.N(); ++n) {
      const std::int64_t own = n + earlier;
      const std::int64_t begin =
          std::max<std::int64_t>(s.first.as<std::int32_t>()[n], own - s.window + 1);
      s.begin.as<std::int32_t>()[n] = static_cast<std::int32_t>(begin);
      s.count.as<std::int32_t>()[n] = static_cast<std::int32_t>(own + 1 - begin);
    }
  }

  // The same numbers as in forward(); the lse is known.
  static AttentionMass mass(const Saved& s, const std::int32_t* valid) {
    find_raw_keys(s);
    const std::int64_t H = s.H();
    const float scale = s.scale();
    const QueryBlocks blocks = s.blocks();
    std::vector<AttentionMass> parts(static_cast<std::size_t>(blocks.count()));
    for_tasks(blocks.count(), [&](std::int64_t i) {
      const Block b(s, blocks[i], blocks.count() == 1);
      const std::int64_t ld = b.width();
      auto* z = static_cast<float*>(
          thread_scratch(1, static_cast<std::size_t>((b.n1 - b.n0) * H * ld) * sizeof(float)));
      b.scores(H, s.q.row(b.n0), z);
      AttentionMass& part = parts[static_cast<std::size_t>(i)];
      const auto add = [&](const float* row, std::int64_t count, float lse, double& to) {
        float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t j = 0; j < count; ++j) sum += fast_exp(scale * row[j] - lse);
        to += static_cast<double>(sum);
        part.largest = std::max(part.largest, scale * largest_magnitude(row, count));
      };
      for (std::int64_t n = b.n0; n < b.n1; ++n) {
        if (valid[n] == 0) continue;
        const KeyBlock::Columns e = b.mixed ? b.entries.columns(n) : KeyBlock::Columns{0, 0};
        const KeyBlock::Columns r = b.raw.columns(n);
        for (std::int64_t h = 0; h < H; ++h) {
          const float lse = s.lse.as<float>()[n * H + h];
          const float* row = z + ((n - b.n0) * H + h) * ld;
          add(row + e.begin, e.end - e.begin, lse, part.entries);
          add(row + b.entries.width() + r.begin, r.end - r.begin, lse, part.window);
          part.sink += static_cast<double>(fast_exp(s.sink.as<float>()[h] - lse));
        }
      }
    });
    AttentionMass total;
    for (const AttentionMass& part : parts) {
      total.sink += part.sink;
      total.window += part.window;
      total.entries += part.entries;
      total.largest = std::max(total.largest, part.largest);
    }
    return total;
  }

  // With do turned forward again, dP = do . a and D = do . o (spec 2.9):
  //   dz = P (dP - D) / sqrt(D),  dq = dz a,  da = P^T do + dz^T q,  dsink = -P_sink D.
  // Keys are seen from many blocks: see key_parts.h for the order of their sums.
  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    const std::int64_t H = s.H();
    const QueryBlocks blocks = s.blocks();
    const bool mixed = static_cast<bool>(s.entries.value);
    count_flops(s, 4);  // do a, dz a, P^T do, dz^T q
    const KeyParts raw(tape, s.raw(), blocks, static_cast<bool>(dx[kKv]));
    const KeyParts entries(tape, s.compressed(), blocks, mixed && dx[kEntries]);
    const auto dsink = tape.scratch<float>(kParts * H);
    for_tasks(kParts, [&](std::int64_t i) {
      const std::int64_t part = kParts - 1 - i;  // the last rows see most: they go first
      float* dsink_h = dsink.data() + part * H;
      std::fill_n(dsink_h, H, 0.0F);
      raw.clear(part);
      entries.clear(part);
      for (std::int64_t b = blocks.part_begin(part); b < blocks.part_begin(part + 1); ++b) {
        backward_block(s, Block(s, blocks[b]), dy, dx, raw, entries, part, dsink_h);
      }
    });
    raw.add_up(dx[kKv]);
    if (mixed) entries.add_up(dx[kEntries]);
    if (dx[kSink] && !tape.is_dry()) {
      write_grad(dx[kSink].data(), dx[kSink].beta, H, [&](std::int64_t h) {
        float sum = 0.0F;
        for (std::int64_t part = 0; part < kParts; ++part) sum += dsink[part * H + h];
        return sum;
      });
    }
  }

  // Rows of the tiles: for each query first the heads of do, then the heads of q.
  static void backward_block(const Saved& s, const Block& b, Cotangents dy, GradSlots dx,
                             const KeyParts& raw, const KeyParts& entries, std::int64_t part,
                             float* dsink) {
    const std::int64_t D = s.D(), H = s.H(), ld = b.width(), queries = b.n1 - b.n0;
    const float scale = s.scale();
    auto* z = static_cast<float*>(
        thread_scratch(1, static_cast<std::size_t>(queries * 2 * H * (ld + D)) * sizeof(float)));
    float* a = z + queries * 2 * H * ld;
    for (std::int64_t n = b.n0; n < b.n1; ++n) {
      float* both = a + (n - b.n0) * 2 * H * D;
      std::copy_n(dy[0].row(n), H * D, both);
      std::copy_n(s.q.row(n), H * D, both + H * D);
    }
    turn(s, b.n0, b.n1, a, 2 * H * D, D, D - 2 * s.rope.pairs, 1.0F);
    b.scores(2 * H, a, z);
    for (std::int64_t n = b.n0; n < b.n1; ++n) {
      for (std::int64_t h = 0; h < H; ++h) {
        float* p = z + ((n - b.n0) * 2 * H + h) * ld;  // holds dP, becomes P
        float* dz = p + H * ld;                        // holds z, becomes dz
        const float lse = s.lse.as<float>()[n * H + h];
        // Both turned back by the same angle: their product is that of the unturned ones.
        const float delta = dot(dy[0].row(n) + h * D, s.o.row(n) + h * D, D);
        dsink[h] -= fast_exp(s.sink.as<float>()[h] - lse) * delta;
        b.ranges(
            n,
            [&](std::int64_t begin, std::int64_t end) {
#pragma omp simd
              for (std::int64_t j = begin; j < end; ++j) {
                const float weight = fast_exp(scale * dz[j] - lse);
                dz[j] = weight * (p[j] - delta) * scale;
                p[j] = weight;
              }
            },
            [&](std::int64_t begin, std::int64_t end) {
              std::fill(p + begin, p + end, 0.0F);
              std::fill(dz + begin, dz + end, 0.0F);
            });
      }
    }
    if (dx[kQ]) {
      b.values(2 * H, H, H, z, dx[kQ].data() + b.n0 * H * D, dx[kQ].beta != 0.0F);
    }
    entries.add(part, b.entries, 2 * H, z, ld, a);
    raw.add(part, b.raw, 2 * H, z + b.entries.width(), ld, a);
  }
};
const RegisterOp kRegisterAttention{kOpInfo<Attention>};

}  // namespace

Attended attention(Tape& tape, Tensor q, Tensor kv, Tensor sink, Tensor first, Tensor position,
                   RopeTable rope, std::int64_t window, const Entries& entries) {
  const std::int64_t N = position.shape.numel(), R = kv.shape.rows(), D = kv.shape.cols();
  const std::int64_t H = sink.shape.numel();
  CHECK((q.shape == Shape{N, H * D} && R >= N), "attention: q ", q.shape, " does not fit kv ",
        kv.shape, " and ", H, " heads at ", N, " positions");
  CHECK(first.shape.numel() == N && window >= 1 && 2 * rope.pairs <= D, "attention: first ",
        first.shape, ", window ", window, ", ", rope.pairs, " rotary pairs");
  if (entries.value) {
    CHECK(entries.value.shape.cols() == D && entries.begin.shape.numel() == N &&
              entries.count.shape.numel() == N &&
              (!entries.chosen || entries.chosen.shape.rows() == N),
          "attention: entries ", entries.value.shape, ", begin ", entries.begin.shape, ", count ",
          entries.count.shape, ", chosen ", entries.chosen.shape, " for kv ", kv.shape);
  }
  Attended out{tape.alloc(q.shape), tape.alloc({N, H})};
  const Attention::Saved saved{q,
                               kv,
                               sink,
                               first,
                               position,
                               entries,
                               tape.alloc({N}, DType::kI32),
                               tape.alloc({N}, DType::kI32),
                               out.lse,
                               out.o,
                               rope,
                               window};
  tape.apply<Attention>(saved, {q, kv, sink, entries.value}, {&out.o});
  return out;
}

AttentionMass attention_mass(Tensor q, Tensor kv, Tensor sink, Tensor first, std::int64_t window,
                             const Entries& entries, Tensor lse, Tensor valid) {
  const std::int64_t N = first.shape.numel();
  std::vector<std::int32_t> begin(static_cast<std::size_t>(N)), count(begin.size());
  const auto tensor = [N](std::vector<std::int32_t>& x) {
    return Tensor{x.data(), {N}, DType::kI32, kConstant};
  };
  return Attention::mass(
      {q, kv, sink, first, first, entries, tensor(begin), tensor(count), lse, {}, {}, window},
      valid.as<std::int32_t>());
}

}  // namespace shoal

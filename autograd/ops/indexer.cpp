#include "autograd/ops/indexer.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/flop_count.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/top_k.h"
#include "autograd/kernels/vec_math.h"
#include "autograd/kernels/weigh_heads.h"
#include "autograd/ops/key_parts.h"

namespace shoal {
namespace {

float score_scale(const IndexScores& s) {
  return 1.0F / std::sqrt(static_cast<float>(s.q.shape.cols()));  // H D
}

// The choice of rows [rows.begin, rows.end), whose scores go by in tiles of columns.
void choose(const IndexScores& s, QueryRange rows, std::int64_t k, std::int32_t* chosen) {
  constexpr std::int64_t kColumns = 1024;
  const std::int64_t H = s.weight.shape.cols(), D = s.key.shape.cols();
  const std::int64_t queries = rows.end - rows.begin;
  const auto *begin = s.begin.as<std::int32_t>(), *count = s.count.as<std::int32_t>();
  auto* dots = static_cast<float*>(thread_scratch(
      1, static_cast<std::size_t>((queries * H + 1) * kColumns) * sizeof(float) +
             static_cast<std::size_t>(queries) *
                 (2 * static_cast<std::size_t>(k) * sizeof(TopK::Candidate) + sizeof(TopK))));
  float* total = dots + queries * H * kColumns;
  auto* best = reinterpret_cast<TopK*>(total + kColumns);
  auto* memory = reinterpret_cast<TopK::Candidate*>(best + queries);
  bool all = true;  // nobody has to choose
  for (std::int64_t n = rows.begin; n < rows.end; ++n) {
    std::int32_t* to = chosen + n * k;
    for (std::int64_t i = 0; i < k; ++i) {
      to[i] = i < count[n] ? begin[n] + static_cast<std::int32_t>(i) : -1;
    }
    all = all && count[n] <= k;
    const std::int64_t query = n - rows.begin;
    new (best + query) TopK(memory + query * 2 * k, k);
  }
  if (all) return;
  const std::int64_t last = begin[rows.end - 1] + count[rows.end - 1];
  for (std::int64_t c0 = begin[rows.begin]; c0 < last; c0 += kColumns) {
    const std::int64_t c1 = std::min(last, c0 + kColumns);
    gemm_on_this_thread(gemm_forward(queries * H, c1 - c0, D, s.q.row(rows.begin),
                                     s.key.as<float>() + c0 * D, dots));
    for (std::int64_t n = rows.begin; n < rows.end; ++n) {
      const std::int64_t from = std::max<std::int64_t>(c0, begin[n]) - c0;
      const std::int64_t to = std::min<std::int64_t>(c1, begin[n] + count[n]) - c0;
      if (from >= to || count[n] <= k) continue;
      const std::int64_t query = n - rows.begin;
      weigh_heads(dots + query * H * (c1 - c0), c1 - c0, s.weight.row(n), H, score_scale(s), from,
                  to, total);
      best[query].add(total + from, to - from, c0 + from);
    }
  }
  for (std::int64_t n = rows.begin; n < rows.end; ++n) {
    if (count[n] > k) best[n - rows.begin].finish(chosen + n * k);
  }
}

struct IndexKl {
  static constexpr std::string_view kName = "index_loss";
  enum Input { kQ, kKey, kWeight };
  enum Output { kKl, kUniform };
  struct Saved {
    IndexScores scores;
    IndexTeacher teacher;
    Tensor chosen, valid;

    std::int64_t N() const { return scores.weight.shape.rows(); }
    std::int64_t H() const { return scores.weight.shape.cols(); }
    std::int64_t teachers() const { return teacher.lse.shape.cols(); }
    KeySet over(const Tensor& keys) const {
      return {keys.as<float>(),
              keys.shape.cols(),
              scores.begin.as<std::int32_t>(),
              scores.count.as<std::int32_t>(),
              chosen ? chosen.as<std::int32_t>() : nullptr,
              chosen ? chosen.shape.cols() : 0};
    }
    QueryBlocks blocks() const {
      const std::int64_t keys = chosen ? chosen.shape.cols() : scores.key.shape.rows();
      return QueryBlocks(N(), keys * (H() + teachers()));
    }
  };

  // One block of rows: the teacher's p and the indexer's softmax, for each column of a row.
  struct Tile {
    KeyBlock index;
    std::int64_t ld = 0;
    float* dots = nullptr;  // [rows * H, ld] q . key
    float *weights = nullptr, *p = nullptr, *softmax = nullptr;
    float lse = 0.0F;  // of the row that row() looked at last

    Tile(const Saved& s, QueryRange r) : index(s.over(s.scores.key), r.begin, r.end) {
      const std::int64_t rows = r.end - r.begin, H = s.H(), HT = s.teachers();
      const KeyBlock teacher(s.over(s.teacher.value), r.begin, r.end);
      ld = index.width();
      dots = static_cast<float*>(
          thread_scratch(1, static_cast<std::size_t>((rows * (H + HT) + 2) * ld) * sizeof(float)));
      weights = dots + rows * H * ld;
      p = weights + rows * HT * ld;
      softmax = p + ld;
      index.scores(H, s.scores.q.row(r.begin), dots, ld);
      teacher.scores(HT, s.teacher.q.row(r.begin), weights, ld);
      begin_ = r.begin;
    }

    // Fills p and softmax (the raw scores stay in `scores_of`) for row n; false: nothing to learn.
    // Of a single entry both are 1, and what rounding made of that an optimizer would blow up.
    bool row(const Saved& s, std::int64_t n, KeyBlock::Columns& c) {
      c = index.columns(n);
      if (c.end - c.begin < 2 || s.valid.as<std::int32_t>()[n] == 0) return false;
      const std::int64_t H = s.H(), HT = s.teachers(), local = n - begin_;
      const float scale = 1.0F / std::sqrt(static_cast<float>(s.teacher.value.shape.cols()));
      std::fill(p + c.begin, p + c.end, 0.0F);
      for (std::int64_t h = 0; h < HT; ++h) {
        const float* z = weights + (local * HT + h) * ld;
        const float minus = s.teacher.lse.row(n)[h];
#pragma omp simd
        for (std::int64_t j = c.begin; j < c.end; ++j) p[j] += fast_exp(scale * z[j] - minus);
      }
      const float total = row_sum(p + c.begin, c.end - c.begin);
      if (!(total > 0.0F)) return false;  // all of it underflowed
      const float inv = 1.0F / total;
      weigh_heads(dots + local * H * ld, ld, s.scores.weight.row(n), H, score_scale(s.scores),
                  c.begin, c.end, softmax);
      const float top = row_max(softmax + c.begin, c.end - c.begin);
      double sum = 0.0;
      for (std::int64_t j = c.begin; j < c.end; ++j) {
        p[j] *= inv;
        sum += static_cast<double>(fast_exp(softmax[j] - top));
      }
      lse = top + static_cast<float>(std::log(sum));
      return true;
    }

   private:
    std::int64_t begin_ = 0;
  };

  // `products` for each pair of a row and an entry that it learns from, and each head of the
  // indexer's. Scores that the choice computed are not needed again, nor the teacher's weights.
  static void count_flops(const Saved& s, double products) {
    if (!FlopCount::is_on()) return;
    const KeySet keys = s.over(s.scores.key);
    std::int64_t pairs = 0;
    for (std::int64_t n = 0; n < s.N(); ++n) {
      const bool scored = products == 1 && keys.seen(n) < keys.count[n];
      if (s.valid.as<std::int32_t>()[n] != 0 && keys.seen(n) >= 2 && !scored) pairs += keys.seen(n);
    }
    FlopCount::add_products(products, pairs, s.H(), keys.D);
  }

  static void forward(Tape& tape, const Saved& s, Outputs y) {
    count_flops(s, 1);
    const QueryBlocks blocks = s.blocks();
    const auto sums = tape.scratch<double>(2 * kParts);
    for_tasks(kParts, [&](std::int64_t i) {
      const std::int64_t part = kParts - 1 - i;  // the last rows see most: they go first
      double kl = 0.0, uniform = 0.0;
      for (std::int64_t b = blocks.part_begin(part); b < blocks.part_begin(part + 1); ++b) {
        Tile tile(s, blocks[b]);
        KeyBlock::Columns c{};
        for (std::int64_t n = blocks[b].begin; n < blocks[b].end; ++n) {
          if (!tile.row(s, n, c)) continue;
          double entropy = 0.0, cross = 0.0;  // sum p log p, sum p log softmax
          for (std::int64_t j = c.begin; j < c.end; ++j) {
            const auto p = static_cast<double>(tile.p[j]);
            if (p > 0.0) entropy += p * static_cast<double>(std::log(tile.p[j]));
            cross += p * static_cast<double>(tile.softmax[j] - tile.lse);
          }
          kl += entropy - cross;
          uniform += entropy + std::log(static_cast<double>(c.end - c.begin));
        }
      }
      sums[part] = kl;
      sums[kParts + part] = uniform;
    });
    if (tape.is_dry()) return;
    for (std::int64_t k = 0; k < 2; ++k) {
      double sum = 0.0;
      for (std::int64_t part = 0; part < kParts; ++part) sum += sums[k * kParts + part];
      *y[static_cast<std::size_t>(k)].as<float>() = static_cast<float>(sum);
    }
  }

  // dI = softmax - p (spec 3.2), then back through the weighted sum of rectified products.
  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    if (!dy[kKl]) return clear(tape, dx);
    count_flops(s, 2);  // dq, dkey
    const std::int64_t H = s.H();
    const QueryBlocks blocks = s.blocks();
    const KeyParts keys(tape, s.over(s.scores.key), blocks, static_cast<bool>(dx[kKey]));
    const float scale = score_scale(s.scores);
    const float seed = tape.is_dry() ? 0.0F : *dy[kKl].as<float>();
    for_tasks(kParts, [&](std::int64_t i) {
      const std::int64_t part = kParts - 1 - i;
      keys.clear(part);
      for (std::int64_t b = blocks.part_begin(part); b < blocks.part_begin(part + 1); ++b) {
        const QueryRange rows = blocks[b];
        Tile tile(s, rows);
        for (std::int64_t n = rows.begin; n < rows.end; ++n) {
          float* dots = tile.dots + (n - rows.begin) * H * tile.ld;
          KeyBlock::Columns c{};
          if (!tile.row(s, n, c)) c = {0, 0};
          float* dscore = tile.softmax;
          for (std::int64_t j = c.begin; j < c.end; ++j) {
            dscore[j] = seed * (fast_exp(dscore[j] - tile.lse) - tile.p[j]);
          }
          for (std::int64_t h = 0; h < H; ++h) {
            float* row = dots + h * tile.ld;
            const float w = s.scores.weight.row(n)[h] * scale;
            float dw = 0.0F;
            std::fill(row, row + c.begin, 0.0F);
            for (std::int64_t j = c.begin; j < c.end; ++j) {
              const bool alive = row[j] > 0.0F;
              dw += alive ? dscore[j] * row[j] : 0.0F;
              row[j] = alive ? dscore[j] * w : 0.0F;
            }
            std::fill(row + c.end, row + tile.ld, 0.0F);
            if (dx[kWeight]) {
              write_grad(dx[kWeight].data() + n * H + h, dx[kWeight].beta, 1,
                         [=](std::int64_t) { return dw * scale; });
            }
          }
        }
        if (dx[kQ]) {
          tile.index.values(H, 0, H, tile.dots, tile.ld,
                            dx[kQ].data() + rows.begin * s.scores.q.shape.cols(),
                            dx[kQ].beta != 0.0F);
        }
        keys.add(part, tile.index, H, tile.dots, tile.ld, s.scores.q.row(rows.begin));
      }
    });
    keys.add_up(dx[kKey]);
  }

  static void clear(const Tape& tape, GradSlots dx) {
    if (tape.is_dry()) return;
    for (const GradSlot& slot : dx) {
      if (!slot || slot.beta != 0.0F) continue;
      std::fill_n(slot.data(), slot.grad.shape.numel(), 0.0F);
    }
  }
};
const RegisterOp kRegisterIndexKl{kOpInfo<IndexKl>};

void check_scores(const IndexScores& s) {
  const std::int64_t N = s.weight.shape.rows(), H = s.weight.shape.cols();
  CHECK((s.q.shape == Shape{N, H * s.key.shape.cols()} && s.begin.shape.numel() == N &&
         s.count.shape.numel() == N),
        "indexer: q ", s.q.shape, ", key ", s.key.shape, ", weight ", s.weight.shape, ", begin ",
        s.begin.shape, ", count ", s.count.shape);
}

}  // namespace

Tensor choose_entries(Tape& tape, const IndexScores& scores, std::int64_t k) {
  check_scores(scores);
  CHECK(k >= 1, "choose_entries: ", k, " entries");
  const std::int64_t N = scores.weight.shape.rows();
  const Tensor chosen = tape.alloc({N, k}, DType::kI32);
  if (FlopCount::is_on()) {
    const auto* count = scores.count.as<std::int32_t>();
    std::int64_t pairs = 0;  // whoever sees k entries at most needs no scores
    for (std::int64_t n = 0; n < N; ++n) pairs += count[n] > k ? count[n] : 0;
    FlopCount::add_products(1, pairs, scores.q.shape.cols());
  }
  if (tape.is_dry()) return chosen;
  const TraceSpan span("choose_entries", "forward");
  const QueryBlocks blocks(N, scores.weight.shape.cols() * 1024);
  for_tasks(blocks.count(), [&](std::int64_t i) {
    const std::int64_t block = blocks.count() - 1 - i;  // the last rows see most: they go first
    choose(scores, blocks[block], k, chosen.as<std::int32_t>());
  });
  return chosen;
}

IndexLoss index_loss(Tape& tape, const IndexScores& scores, const IndexTeacher& teacher,
                     Tensor chosen, Tensor valid) {
  check_scores(scores);
  const std::int64_t N = scores.weight.shape.rows(), H = teacher.lse.shape.cols();
  CHECK((teacher.q.shape == Shape{N, H * teacher.value.shape.cols()} &&
         teacher.value.shape.rows() == scores.key.shape.rows() && valid.shape.numel() == N &&
         (!chosen || chosen.shape.rows() == N)),
        "index_loss: teacher q ", teacher.q.shape, ", value ", teacher.value.shape, ", lse ",
        teacher.lse.shape, ", chosen ", chosen.shape, " for ", N, " rows");
  IndexLoss loss{tape.alloc({1}), tape.alloc({1})};
  tape.apply<IndexKl>({scores, teacher, chosen, valid}, {scores.q, scores.key, scores.weight},
                      {&loss.kl, &loss.uniform});
  return loss;
}

}  // namespace shoal

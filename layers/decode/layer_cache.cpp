#include "layers/decode/layer_cache.h"

#include <algorithm>
#include <limits>

#include "autograd/base/rng.h"
#include "autograd/ops/index_choice.h"

namespace shoal {
namespace {

// Made-up numbers, small enough for every softmax
void fill_random(const Tensor& x, const Rng& rng) {
  for_chunks(x.shape.numel(), [&](Range r) {
    for (std::int64_t i = r.begin; i < r.end; ++i) {
      x.as<float>()[i] = static_cast<float>(rng.uniform(static_cast<std::uint64_t>(i)) - 0.5);
    }
  });
}

}  // namespace

EntryCache::EntryCache(const Compressor& compressor, EntryRounding rounding,
                       std::int64_t most_tokens)
    : compressor_(&compressor),
      rounding_(rounding),
      tail_(compressor.projected_width()),
      entries_(compressor.width()),
      packed_(compressor.width()) {
  const std::int64_t most = most_tokens / compressor.rate();
  if (rounding_ == EntryRounding::kFp4) {
    packed_.reserve(most);
  } else {
    entries_.reserve(most);
  }
}

void EntryCache::extend(Tape& tape, Tensor projected, std::int64_t before, RopeTable rope) {
  const std::int64_t rate = compressor_->rate();
  const std::int64_t tail_begin = before - tail_.rows();
  const std::int64_t after = before + projected.shape.rows();
  tail_.append_copy(projected);
  const std::int64_t first = before / rate, M = after / rate - first;
  if (M > 0) {
    const EntryRows rows{tape.alloc({M}, DType::kI32), tape.alloc({M}, DType::kI32)};
    for (std::int64_t i = 0; i < M; ++i) {
      const std::int64_t position = (first + i) * rate;
      rows.own_row.as<std::int32_t>()[i] = static_cast<std::int32_t>(position - tail_begin);
      rows.position.as<std::int32_t>()[i] = static_cast<std::int32_t>(position);
    }
    const Tensor made = compressor_->pool(tape, tail_.tensor(), rows, rope, rounding_);
    if (rounding_ == EntryRounding::kFp4) {
      packed_.append(made);
    } else {
      entries_.append_copy(made);
    }
  }
  tail_.keep_last(after % rate + (compressor_->overlaps() ? rate : 0));
}

AttentionRows attention_rows(Tape& tape, const AttentionLayer& layer, bool chooses,
                             const Precision& precision, Tensor x_NC, Tensor position,
                             RopeTable rope) {
  AttentionRows rows;
  const Tensor u = layer.latent(tape, x_NC);
  rows.q = layer.queries(tape, u, position, rope);
  rows.kv = layer.raw_keys(tape, x_NC, position, rope, precision.fp8_kv);
  if (const Compressor* compressor = layer.compressor()) {
    rows.projected = compressor->project(tape, x_NC);
  }
  if (chooses) {
    const Indexer& indexer = *layer.indexer();
    rows.index_q = indexer.queries(tape, u, position, rope, precision.fp4_indexer);
    rows.index_weight = indexer.weights(tape, x_NC);
    rows.index_projected = indexer.compressor().project(tape, x_NC);
  }
  return rows;
}

LayerCache::LayerCache(const AttentionLayer& layer, const ModelConfig& config, bool chooses,
                       const Precision& precision, std::int64_t most_tokens)
    : layer_(&layer),
      precision_(precision),
      rate_(config.compress_rate(layer.kind())),
      topk_(config.index_topk),
      kept_rows_(layer.kind() == AttentionKind::kFull ? std::numeric_limits<std::int64_t>::max()
                                                      : config.sliding_window - 1),
      raw_(config.head_dim) {
  if (layer.kind() == AttentionKind::kFull) raw_.reserve(most_tokens);
  if (layer.compressor() != nullptr) {
    entries_.emplace(*layer.compressor(),
                     precision.fp8_kv ? EntryRounding::kFp8 : EntryRounding::kNone, most_tokens);
  }
  if (chooses) {
    index_keys_.emplace(layer.indexer()->compressor(), Indexer::rounding(precision.fp4_indexer),
                        most_tokens);
  }
}

Tensor LayerCache::attend(Tape& tape, const AttentionRows& rows, Tensor zeros, Tensor position,
                          RopeTable rope) {
  const std::int64_t N = position.shape.numel(), before = length_;
  length_ += N;
  raw_.append_copy(rows.kv);
  Entries entries;
  if (entries_) {
    entries_->extend(tape, rows.projected, before, rope);
    entries = {entries_->entries(), zeros, tape.alloc({N}, DType::kI32), {}};
    for (std::int64_t n = 0; n < N; ++n) {
      entries.count.as<std::int32_t>()[n] = static_cast<std::int32_t>((before + n + 1) / rate_);
    }
  }
  if (index_keys_) {
    index_keys_->extend(tape, rows.index_projected, before, rope);
    if (length_ / rate_ > topk_) {
      const IndexScores scores{rows.index_q, index_keys_->entries(), rows.index_weight, zeros,
                               entries.count};
      entries.chosen = precision_.fp4_indexer
                           ? choose_entries_fp4(tape, scores, index_keys_->packed(), topk_)
                           : choose_entries(tape, scores, topk_);
    }
  }
  const Tensor o = layer_->attend(tape, rows.q, raw_.tensor(), zeros, position, rope, entries).o;
  raw_.keep_last(kept_rows_);
  return o;
}

void LayerCache::pretend(Tape& tape, std::int64_t tokens, std::uint64_t seed) {
  // A compressor's rows pass in pieces, so that the tape holds few of them at a time.
  constexpr std::int64_t kPiece = 4096;
  const RopeTable still{nullptr, 0, 0};  // turns nothing
  for (const std::int64_t end = length_ + tokens; length_ < end;) {
    const std::int64_t n = std::min(kPiece, end - length_);
    const Tape::Mark mark = tape.mark();
    const auto random = [&](std::int64_t width, std::uint64_t part) {
      const Tensor x = tape.alloc({n, width});
      fill_random(x, Rng(seed, Purpose::kBench, static_cast<std::uint64_t>(length_) * 4 + part));
      return x;
    };
    raw_.append_copy(random(raw_.width(), 0));
    raw_.keep_last(kept_rows_);
    if (entries_) {
      entries_->extend(tape, random(layer_->compressor()->projected_width(), 1), length_, still);
    }
    if (index_keys_) {
      const Compressor& keys = layer_->indexer()->compressor();
      index_keys_->extend(tape, random(keys.projected_width(), 2), length_, still);
    }
    tape.rewind(mark);
    length_ += n;
  }
}

std::size_t LayerCache::bytes() const {
  return raw_.bytes() + (entries_ ? entries_->bytes() : 0) +
         (index_keys_ ? index_keys_->bytes() : 0);
}

}  // namespace shoal

#include "layers/decode/decode.h"

#include <algorithm>
#include <cstring>

namespace shoal {
namespace {

Tensor rows_of(Tensor x, std::int64_t begin, std::int64_t n) {
  if (!x) return x;
  const std::int64_t cols = x.shape.rank > 1 ? x.shape.numel() / x.shape[0] : 1;
  x.data = static_cast<std::byte*>(x.data) + begin * cols * 4;
  x.shape.dim[0] = n;
  return x;
}

AttentionRows rows_of(const AttentionRows& all, std::int64_t begin, std::int64_t n) {
  return {rows_of(all.q, begin, n),
          rows_of(all.kv, begin, n),
          rows_of(all.projected, begin, n),
          rows_of(all.index_q, begin, n),
          rows_of(all.index_weight, begin, n),
          rows_of(all.index_projected, begin, n)};
}

std::int64_t count(const DecodeChunk& chunk) {
  return static_cast<std::int64_t>(chunk.tokens.size());
}

// Rows of all chunks as the ops read them.
struct Rows {
  BatchTensors batch;  // as far as a feed-forward layer needs it
  Tensor zeros;
  std::int64_t most_positions = 0;
};

Rows upload(Tape& tape, std::span<const DecodeChunk> chunks) {
  std::int64_t N = 0;
  for (const DecodeChunk& chunk : chunks) N += count(chunk);
  const auto make = [&] { return tape.alloc({N}, DType::kI32); };
  Rows rows;
  rows.batch.B = 1;
  rows.batch.T = N;
  rows.batch.tokens = make();
  rows.batch.position = make();
  rows.batch.valid = make();
  rows.zeros = make();
  std::fill_n(rows.batch.valid.as<std::int32_t>(), N, 1);
  std::fill_n(rows.zeros.as<std::int32_t>(), N, 0);
  std::int64_t row = 0;
  for (const DecodeChunk& chunk : chunks) {
    std::copy(chunk.tokens.begin(), chunk.tokens.end(), rows.batch.tokens.as<std::int32_t>() + row);
    for (std::int64_t i = 0; i < count(chunk); ++i) {
      rows.batch.position.as<std::int32_t>()[row++] =
          static_cast<std::int32_t>(chunk.cache->length() + i);
    }
    rows.most_positions = std::max(rows.most_positions, chunk.cache->length() + count(chunk));
  }
  return rows;
}

void check(const Model& model, std::span<const DecodeChunk> chunks) {
  CHECK(!chunks.empty(), "decode: no sequence");
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    CHECK(!chunks[i].tokens.empty(), "decode: sequence ", i, " has no tokens");
    CHECK(chunks[i].cache->length() + count(chunks[i]) <= model.config().max_position_embeddings,
          "decode: ", chunks[i].cache->length(), " and ", count(chunks[i]),
          " tokens, the model has ", model.config().max_position_embeddings, " positions");
    for (std::size_t j = 0; j < i; ++j) {
      CHECK(chunks[i].cache != chunks[j].cache, "decode: sequence ", i, " is also sequence ", j);
    }
  }
}

// Attention of all rows, each sequence over its own cache: x [N, C] -> [N, C].
Tensor attend(Tape& tape, const AttentionLayer& layer, std::size_t l, Tensor x_NC, const Rows& rows,
              const RopeTables& ropes, std::span<const DecodeChunk> chunks) {
  const RopeTable rope = layer.rope(ropes);
  const bool chooses = chunks.front().cache->layer(l).chooses();
  const Precision precision = chunks.front().cache->layer(l).precision();
  const AttentionRows all =
      attention_rows(tape, layer, chooses, precision, x_NC, rows.batch.position, rope);
  Tensor o = chunks.size() > 1 ? tape.alloc(all.q.shape) : Tensor{};
  std::int64_t row = 0;
  for (const DecodeChunk& chunk : chunks) {
    LayerCache& cache = chunk.cache->layer(l);
    CHECK(cache.chooses() == chooses && cache.precision() == precision,
          "decode: sequences of different indexer stages or precisions");
    const std::int64_t n = count(chunk);
    const Tensor own = cache.attend(tape, rows_of(all, row, n), rows_of(rows.zeros, row, n),
                                    rows_of(rows.batch.position, row, n), rope);
    if (o) {
      std::memcpy(o.row(row), own.data, own.bytes());
    } else {
      o = own;
    }
    row += n;
  }
  return layer.output(tape, o);
}

}  // namespace

Tensor decode_streams(Model& model, Tape& tape, std::span<const DecodeChunk> chunks) {
  check(model, chunks);
  const NoGrad off(tape);
  const Rows rows = upload(tape, chunks);
  const RopeTables ropes = model.ropes(rows.most_positions);
  Tensor X = model.embed(tape, rows.batch.tokens);
  std::size_t l = 0;
  for (const Block& block : model.blocks()) {
    const Label label(tape, block.label());
    const StreamMix mix = block.attention_mix(tape, X);
    const Tensor attended =
        attend(tape, block.attention(), l++, block.attention_input(tape, mix), rows, ropes, chunks);
    X = block.after_attention(tape, X, attended, mix, rows.batch.tokens, rows.batch).X;
  }
  for (const DecodeChunk& chunk : chunks) chunk.cache->advance(count(chunk));
  return X;
}

Tensor decode(Model& model, Tape& tape, std::span<const DecodeChunk> chunks) {
  const NoGrad off(tape);
  const Tensor X = decode_streams(model, tape, chunks);
  const auto S = static_cast<std::int64_t>(chunks.size());
  if (X.shape[0] == S) return model.logits(tape, X);  // one row each
  const Tensor last = tape.alloc({S, X.shape[1], X.shape[2]});
  std::int64_t row = -1;
  for (std::int64_t i = 0; i < S; ++i) {
    row += count(chunks[static_cast<std::size_t>(i)]);
    const Tensor from = rows_of(X, row, 1);
    std::memcpy(rows_of(last, i, 1).data, from.data, from.bytes());
  }
  return model.logits(tape, last);
}

}  // namespace shoal

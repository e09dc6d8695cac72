#pragma once
#include <optional>

#include "layers/attention/attention.h"
#include "layers/decode/key_store.h"
#include "layers/decode/row_store.h"

namespace shoal {

// The compressed side of a cache: a compressor's entries so far, and the projected rows (values and
// gates) that entries to come still need: those of the unfinished block, and of the block before it
// where blocks overlap.
class EntryCache {
 public:
  // kFp4: entries are kept packed, as kernels/index_fp4 reads them.
  EntryCache(const Compressor& compressor, EntryRounding rounding, std::int64_t most_tokens);
  // The next rows of Compressor::project(), of the tokens `before`, `before` + 1 ...: makes the
  // entries of the blocks that they complete.
  void extend(Tape& tape, Tensor projected, std::int64_t before, RopeTable rope);

  Tensor entries() const { return entries_.tensor(); }
  PackedKeys packed() { return packed_.keys(); }
  std::size_t bytes() const { return tail_.bytes() + entries_.bytes() + packed_.bytes(); }

 private:
  const Compressor* compressor_;
  EntryRounding rounding_;
  RowStore tail_, entries_;
  KeyStore packed_;
};

// What an attention layer computes of its input alone, for rows of any sequences.
struct AttentionRows {
  Tensor q, kv;                                   // as in AttentionLayer
  Tensor projected;                               // Compressor::project; null: no compressor
  Tensor index_q, index_weight, index_projected;  // of the indexer; null: it is not asked
};
// `chooses`: the layer looks at the entries that its indexer chooses.
AttentionRows attention_rows(Tape& tape, const AttentionLayer& layer, bool chooses,
                             const Precision& precision, Tensor x_NC, Tensor position,
                             RopeTable rope);

// What one attention layer remembers of one sequence (spec 11.1): its last raw KV rows (all of them
// for full attention), compressed entries, the indexer's keys, and both compressors' tails.
class LayerCache {
 public:
  LayerCache(const AttentionLayer& layer, const ModelConfig& config, bool chooses,
             const Precision& precision, std::int64_t most_tokens);

  // Attention of the next tokens, at `position`: [N, H*D].
  // zeros, position [N] i32.
  Tensor attend(Tape& tape, const AttentionRows& rows, Tensor zeros, Tensor position,
                RopeTable rope);
  // Takes `tokens` tokens as read whose rows hold made-up numbers: measurements start from here.
  void pretend(Tape& tape, std::int64_t tokens, std::uint64_t seed);

  bool chooses() const { return index_keys_.has_value(); }
  const Precision& precision() const { return precision_; }
  std::size_t bytes() const;

 private:
  const AttentionLayer* layer_;
  Precision precision_;
  std::int64_t rate_, topk_, kept_rows_;  // kept_rows_: raw rows that later tokens may see
  std::int64_t length_ = 0;
  RowStore raw_;
  std::optional<EntryCache> entries_, index_keys_;
};

}  // namespace shoal

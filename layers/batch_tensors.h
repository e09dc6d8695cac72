#pragma once
#include "autograd/ops/compress.h"
#include "autograd/tape.h"
#include "data/batch.h"
#include "layers/config.h"

namespace shoal {

// The compressed entries of a batch at one rate (spec 2.4): every piece of a document is cut into
// blocks from its first row on; rows that fill no block make no entry.
struct EntryLayout {
  EntryRows rows;       // [M]
  Tensor begin, count;  // [N] i32: row n sees the entries begin[n] .. begin[n] + count[n] - 1 of
                        // its piece, those whose block ends at n or before
  std::int64_t most_visible = 0;  // the largest count
};

// A batch as the ops read it, all [N] i32.
struct BatchTensors {
  Tensor tokens, targets;
  Tensor first, position;     // see data/batch.h; position = n - first[n]
  Tensor valid;               // 0 for padding
  Tensor next, second;        // MTP: the token it reads (0 where none), the one it predicts or -1
  EntryLayout sparse, heavy;  // where the model has such layers
  std::int64_t B = 0, T = 0;

  const EntryLayout& entries_of(AttentionKind kind) const {
    return kind == AttentionKind::kCompressedSparse ? sparse : heavy;
  }
};

BatchTensors upload(Tape& tape, const Batch& batch, const ModelConfig& config);

}  // namespace shoal

#pragma once
#include <span>

#include "layers/decode/sequence_cache.h"

namespace shoal {

// The next tokens of a sequence: a piece of a prompt, or the one token that was drawn last.
struct DecodeChunk {
  SequenceCache* cache;
  std::span<const std::int32_t> tokens;  // at least one
};

// Reads the next tokens of several sequences, each once, and adds them to their caches. A token's
// numbers have the bits of Model's forward over its whole sequence, whatever the pieces and
// whichever sequences share the call.
//   -> streams after the last block [rows of all chunks, n, C]; until tape.end_microbatch()
Tensor decode_streams(Model& model, Tape& tape, std::span<const DecodeChunk> chunks);
// The same -> logits after the last token of each chunk [chunks, V].
Tensor decode(Model& model, Tape& tape, std::span<const DecodeChunk> chunks);

}  // namespace shoal

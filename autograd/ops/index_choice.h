#pragma once
#include "autograd/kernels/index_fp4.h"
#include "autograd/ops/indexer.h"

namespace shoal {

// Packs keys [M, D] for choose_entries_fp4; until tape.end_microbatch().
PackedKeys pack_keys(Tape& tape, Tensor key);

// choose_entries() from scores of FP4 queries and keys that are rounded to bfloat16 before they are
// compared (spec 8.1). `scores.q` is rounded to FP4 here, which leaves rounded numbers as they are;
// `scores.key` is not read. The scores have the bits of float32 scores of the rounded numbers.
Tensor choose_entries_fp4(Tape& tape, const IndexScores& scores, const PackedKeys& keys,
                          std::int64_t k);

}  // namespace shoal

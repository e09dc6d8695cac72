#pragma once
#include "autograd/kernels/rotate.h"
#include "autograd/tape.h"

namespace shoal {

// Where the entries of a compressor come from: entry i pools the `rate` rows from own_row[i] on,
// and with overlap also the `rate` rows before them, unless position[i] is 0 (a document's first
// block). position counts tokens of the document, of the block's first token.
struct EntryRows {
  Tensor own_row, position;  // [M] i32; own_row rises, and blocks do not overlap
};

// One compressed entry per block of `rate` rows (spec 2.4):
//   rows of entry i: previous block with the first halves (overlap only), then the own block
//   S = softmax over these rows, for every channel apart, of gate + ape[row within its block]
//   p = sum over rows of S value;   y = p / sqrt(mean(p^2) + eps) * gain, its last 2 * pairs values
//   turned by position[i]
//   x [N, 2 * coff * D]: values, then gates, coff = 2 with overlap: each first the half that the
//   next block reads, then the own one     ape [rate, coff * D]   gain [D]   ->   y [M, D]
// Rows in no complete block are not read.
Tensor compress(Tape& tape, Tensor x, Tensor ape, Tensor gain, const EntryRows& rows, bool overlap,
                RopeTable rope, float eps);

}  // namespace shoal

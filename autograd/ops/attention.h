#pragma once
#include "autograd/kernels/rotate.h"
#include "autograd/tape.h"

namespace shoal {

// Compressed entries beside the raw keys (spec 2.4, 2.7): row n may see the entries begin[n] ..
// begin[n] + count[n] - 1; neither begin nor begin + count ever falls.
struct Entries {
  Tensor value;         // [M, D]; null: there are none
  Tensor begin, count;  // [N] i32
  Tensor chosen;        // [N, k] i32: the min(k, count[n]) of them that row n looks at, rising;
                        // null: it looks at all
};

struct Attended {
  Tensor o;    // like q
  Tensor lse;  // [N, H] logarithm of the denominator; takes no gradient
};

// Attention with one shared key = value, a sink, and its output turned back (spec 2.5, 2.7, 2.8).
//   A(n) = entries of row n  U  raw rows j with max(first[n], n - window + 1) <= j <= n
//   z[n,h,a] = q[n,h] . a / sqrt(D),   P = exp(z) / (sum over A(n) of exp(z) + exp(sink[h]))
//   o[n,h] = turn(sum over A(n) of P[n,h,a] a, -position[n])
//   q [N, H*D]   kv [R, D]   sink [H]   position [N] i32; row n of q is row n + R - N of kv (a
//   cache holds earlier rows), and first [N] i32 counts rows of kv.
// One softmax over both kinds, entries before raw rows, each in rising order: a row's bits depend
// on nothing else. Queries go by in blocks of rows; nothing of size N x N or N x M is stored.
Attended attention(Tape& tape, Tensor q, Tensor kv, Tensor sink, Tensor first, Tensor position,
                   RopeTable rope, std::int64_t window, const Entries& entries = {});

// Where the probability went, summed over the rows where valid [N] i32 is not 0 and all heads:
// sink + window + entries = their number. From the inputs of attention() and its lse.
struct AttentionMass {
  double sink = 0.0, window = 0.0, entries = 0.0;
  float largest = 0.0F;  // |z|
};
AttentionMass attention_mass(Tensor q, Tensor kv, Tensor sink, Tensor first, std::int64_t window,
                             const Entries& entries, Tensor lse, Tensor valid);

}  // namespace shoal

#pragma once
#include "autograd/tape.h"

namespace shoal {

// The lightning indexer's view of the entries that each row may see (spec 2.6):
//   I[n,i] = sum_h weight[n,h] / sqrt(D H) max(0, q[n,h] . key[i]),   begin[n] <= i < begin[n] +
//   count[n]
struct IndexScores {
  Tensor q, key, weight;  // [N, H*D], [M, D], [N, H]
  Tensor begin, count;    // [N] i32, see Entries in attention.h
};

// The min(k, count[n]) entries with the largest scores, of equal ones the lower, in rising order;
// -1 after the last. -> [N, k] i32. Scores pass by in tiles; takes no gradient.
Tensor choose_entries(Tape& tape, const IndexScores& scores, std::int64_t k);

// What the indexer is to imitate: attention's weights, summed over heads (spec 3.2).
//   P[n,h,i] = exp(q[n,h] . value[i] / sqrt(D) - lse[n,h]): the full denominator, sink and raw keys
//   included.  q [N, H*D]   value [M, D]   lse [N, H];  none of them gets a gradient
struct IndexTeacher {
  Tensor q, value, lse;
};
struct IndexLoss {
  Tensor kl;       // [1] sum over rows of KL(p || softmax of I), over R(n)
  Tensor uniform;  // [1] the same with a uniform distribution instead: 1 - kl / uniform says how
                   // much of the teacher the indexer has captured. Takes no gradient.
};
// R(n): the chosen entries, or all visible ones (chosen null). p[n,i] = sum_h P / sum over R(n).
// Rows where valid [N] i32 is 0, or that see no entry, count nothing.
IndexLoss index_loss(Tape& tape, const IndexScores& scores, const IndexTeacher& teacher,
                     Tensor chosen, Tensor valid);

}  // namespace shoal

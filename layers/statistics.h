#pragma once
#include <cstdint>
#include <vector>

#include "autograd/ops/experts.h"
#include "layers/model.h"

namespace shoal {

// What an indexer learned: sums over rows, see IndexLoss.
struct IndexSums {
  double kl = 0.0, uniform = 0.0;
  friend IndexSums operator+(const IndexSums& a, const IndexSums& b) {
    return {a.kl + b.kl, a.uniform + b.uniform};
  }
};

// What a block did in a step. Counts are integers, so that sums over micro-batches are exact.
struct BlockStats {
  std::vector<std::int64_t> load;  // tokens of each routed expert; empty of a dense layer
  ClampCount clamped;
  IndexSums index;  // of the last micro-batch
};
using ModelStats = std::vector<BlockStats>;  // one entry per block, the MTP block last

ModelStats make_stats(const Model& model);
void clear(ModelStats& stats);
// Adds what a micro-batch says, once it has run and before its activations go.
void add(ModelStats& stats, const Hidden& hidden);

}  // namespace shoal

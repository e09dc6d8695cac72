#pragma once
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "layers/block.h"
#include "layers/rope.h"

namespace shoal {

// What each sum of the loss is multiplied by; all are known before the step (spec 6, 5.4, and the
// conventions of the parity cases: means are over the whole step).
struct LossWeights {
  double ce = 1.0;  // 1 / targets of the step
  // lambda / MTP targets of the step, 0 where it has none: the MTP block runs all the same, because
  // its router counts. Without a weight it does not run.
  std::optional<double> mtp;
  double balance = 0.0;   // alpha / sequences of the step
  double index_kl = 0.0;  // coefficient / targets of the step; 0: the indexers do not learn
};

struct Loss {
  Tensor total;  // [1] what backward starts from
  // [1] sums without weights; null where there is none
  Tensor ce, mtp, balance, index_kl;
};

// What an indexer learned in a step: sums over rows, see IndexLoss.
struct IndexSums {
  double kl = 0.0, uniform = 0.0;
  friend IndexSums operator+(const IndexSums& a, const IndexSums& b) {
    return {a.kl + b.kl, a.uniform + b.uniform};
  }
};

// Statistics of a step; one entry per block, the MTP block last. Counts are added to, `index` is of
// the last micro-batch.
struct BlockStats : MoeStats {
  IndexSums index;
};
using ModelStats = std::vector<BlockStats>;

// How a micro-batch is run; the defaults are a plain training step.
struct RunMode {
  bool recompute = false;  // every block keeps its input only
  IndexerMode indexer = IndexerMode::kSparse;
};

// A DeepSeek-V4 replica (spec 1).
class Model {
 public:
  explicit Model(const ModelConfig& config);

  // Memory and initial values; hash tables balanced by `token_counts` (empty: uniform).
  void allocate() { store_.allocate(); }
  void initialise(std::uint64_t seed, std::span<const std::int64_t> token_counts);

  // In the warm-up stage of the indexers everything else is frozen: it takes no gradient.
  Loss loss(Tape& tape, const Batch& batch, const LossWeights& weights, const RunMode& mode,
            ModelStats* stats);
  // Without targets' loss: logits [N, V], and MTP's where it exists and is asked for.
  struct Activations {
    std::vector<Tensor> streams;  // X before each block and after the last, [N, n, C]
    Tensor logits, mtp_logits;    // [N, V]
    // Of each CSA layer: [N, k] i32, see AttentionLayer::Result; null for other layers, and where
    // every row looks at all entries.
    std::vector<Tensor> chosen;
    EntryLayout sparse;  // where those entries lie
  };
  Activations activations(Tape& tape, const Batch& batch, bool with_mtp,
                          IndexerMode stage = IndexerMode::kSparse);
  // Logits of the chosen rows alone [rows, V].
  Tensor logits_of_rows(Tape& tape, const Batch& batch, std::span<const std::int64_t> rows,
                        IndexerMode stage = IndexerMode::kSparse);

  // The steps of a forward pass around the blocks, for decoding from a cache.
  RopeTables ropes(std::int64_t positions);       // angles of at least so many positions
  Tensor embed(Tape& tape, Tensor tokens) const;  // [N] i32 -> streams [N, n, C]
  Tensor logits(Tape& tape, Tensor X) const;      // streams [N, n, C] -> [N, V]

  ParamStore& store() { return store_; }
  const ParamStore& store() const { return store_; }
  const ModelConfig& config() const { return config_; }
  ModelStats make_stats() const;
  bool has_mtp() const { return mtp_ != nullptr; }
  const std::deque<Block>& blocks() const { return blocks_; }
  const Block* mtp_block() const;
  // Blocks and MTP block in the order of ModelStats.
  std::vector<const Block*> all_blocks() const;

 private:
  struct Mtp;
  struct Trunk {
    Tensor X, balance, index_kl;
  };
  Trunk run_blocks(Tape& tape, Tensor X, const BlockInput& input, bool recompute, ModelStats* stats,
                   Activations* activations);
  Block::Result run_mtp(Tape& tape, Tensor X, const BlockInput& input, bool recompute,
                        MoeStats* stats);
  Block::Result run_block(Tape& tape, const Block& block, Tensor X, Tensor tokens,
                          const BlockInput& input, bool recompute, MoeStats* stats);
  // Parameters enter the tape (those that learn in this stage), the batch is laid out.
  BlockInput begin(Tape& tape, const Batch& batch, const IndexerPlan& mode);
  Tensor norm_of_head(Tape& tape, Tensor X) const;

  ModelConfig config_;
  ParamStore store_;
  BatchTensors batch_;  // of the micro-batch on the tape; recomputed blocks read it in backward
  RopeTableStorage rope_main_, rope_compress_;
  ModelParam *embed_, *norm_, *head_;
  std::deque<Block> blocks_;
  std::unique_ptr<ResidualHead> hc_head_;
  std::shared_ptr<Mtp> mtp_;
};

}  // namespace shoal

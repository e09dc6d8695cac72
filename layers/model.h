#pragma once
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "layers/block.h"
#include "layers/moe/rounded_experts.h"
#include "layers/rope.h"

namespace shoal {

// Looks at every block of a forward pass once it has run, and before a recomputed one gives its
// memory back; `place` as in Model::all_blocks().
class BlockObserver {
 public:
  virtual ~BlockObserver() = default;
  virtual void see(std::size_t place, const BlockInput& input, const Block::Result& block) = 0;
};

// How a micro-batch is run; the defaults are a plain forward pass.
struct ForwardPlan {
  bool recompute = false;  // every block keeps its input only
  IndexerPlan indexer;
  // [N, K] i32 of each block, in the order of Model::all_blocks(): the experts to use instead of
  // the routers' choice; a null tensor, or a list too short: the block's own. They have to live as
  // long as the micro-batch.
  std::span<const Tensor> given_ids = {};
  const Dispatch* dispatch = nullptr;  // null: all experts are here
  BlockObserver* observer = nullptr;
};

// What a forward pass leaves behind, until the micro-batch ends. It knows no loss.
struct Hidden {
  Tensor X0, X;      // streams before the first block and after the last, [N, n, C]
  Tensor balance;    // [1] the experts' balance losses, of every block that ran; null: none
  Tensor index_kl;   // [1] the indexers' losses; null: none learns
  BlockInput input;  // the batch and what the blocks shared
  ForwardPlan plan;
  // What every block said, in the order of Model::all_blocks(); a null X: it did not run.
  std::span<Block::Result> blocks;
};

// A DeepSeek-V4 replica (spec 1).
class Model {
 public:
  explicit Model(const ModelConfig& config);

  // Memory and initial values; hash tables balanced by `token_counts` (empty: uniform).
  void allocate() { store_.allocate(); }
  void initialise(std::uint64_t seed, std::span<const std::int64_t> token_counts);

  // The trunk. While the indexers warm up everything else is frozen: it takes no gradient. What it
  // returns is good until the next call.
  Hidden forward(Tape& tape, const Batch& batch, const ForwardPlan& plan);
  // The MTP block behind it: its streams [N, n, C]. Adds to `hidden` what the block said.
  Tensor forward_mtp(Tape& tape, Hidden& hidden);

  // From streams [N, n, C] to logits [N, V] = head_input() head()^T.
  Tensor head_input(Tape& tape, Tensor X) const;      // [N, C]
  Tensor mtp_head_input(Tape& tape, Tensor X) const;  // of the MTP block's streams
  Tensor head() const { return head_->weight(); }     // [V, C]
  Tensor logits(Tape& tape, Tensor X) const;
  // Logits of the chosen rows alone, without a gradient: [rows, V].
  Tensor logits_of_rows(Tape& tape, Tensor X, std::span<const std::int64_t> rows) const;

  // A whole forward pass without a gradient, for comparing.
  struct Activations {
    std::vector<Tensor> streams;  // X before each block and after the last, [N, n, C]
    Tensor logits, mtp_logits;    // [N, V]; MTP's where it exists and is asked for
    // Of each CSA layer: [N, k] i32, see AttentionLayer::Result; null for other layers, and where
    // every row looks at all entries.
    std::vector<Tensor> chosen;
    EntryLayout sparse;  // where those entries lie
  };
  Activations activations(Tape& tape, const Batch& batch, bool with_mtp,
                          IndexerMode mode = IndexerMode::kSparse);

  // The steps of a forward pass around the blocks, for decoding from a cache.
  RopeTables ropes(std::int64_t positions);       // angles of at least so many positions
  Tensor embed(Tape& tape, Tensor tokens) const;  // [N] i32 -> streams [N, n, C]

  // What forward passes and caches are computed with from now on. FP4 rounds the routed experts'
  // weights as they are now: to be said again when they have changed, so once for each update.
  void set_precision(const Precision& precision);
  const Precision& precision() const { return precision_; }
  const RoundedExperts& rounded_experts() const { return rounded_; }

  ParamStore& store() { return store_; }
  const ParamStore& store() const { return store_; }
  const ModelConfig& config() const { return config_; }
  bool has_mtp() const { return mtp_ != nullptr; }
  const std::deque<Block>& blocks() const { return blocks_; }
  const Block* mtp_block() const;
  // The blocks, the MTP block last.
  std::vector<const Block*> all_blocks() const;

 private:
  struct Mtp;
  // Runs block `l` of all_blocks() and adds to `hidden` what it says.
  Tensor run_block(Tape& tape, std::size_t l, const Block& block, Tensor X, Tensor tokens,
                   Hidden& hidden);
  // Parameters enter the tape (those that learn), the batch is laid out.
  BlockInput begin(Tape& tape, const Batch& batch, const IndexerPlan& indexer);

  ModelConfig config_;
  ParamStore store_;
  Precision precision_;
  RoundedExperts rounded_;
  BatchTensors batch_;  // of the micro-batch on the tape; recomputed blocks read it in backward
  RopeTableStorage rope_main_, rope_compress_;
  ModelParam *embed_, *norm_, *head_;
  std::deque<Block> blocks_;
  std::unique_ptr<ResidualHead> hc_head_;
  std::shared_ptr<Mtp> mtp_;
  std::vector<Block::Result> results_;  // of the micro-batch on the tape
};

}  // namespace shoal

#pragma once
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "layers/block.h"
#include "layers/rope.h"

namespace shoal {

// What each sum of the loss is multiplied by; all are known before the step (spec 6, 5.4, and the
// conventions of the parity cases: means are over the whole step).
struct LossWeights {
  double ce = 1.0;       // 1 / targets of the step
  double mtp = 0.0;      // lambda / MTP targets of the step
  double balance = 0.0;  // alpha / sequences of the step
};

struct Loss {
  Tensor total;             // [1] what backward starts from
  Tensor ce, mtp, balance;  // [1] sums without weights; null where there is none
};

// Statistics of a step; one entry per block, the MTP block last.
using ModelStats = std::vector<MoeStats>;

// A DeepSeek-V4 replica (spec 1).
class Model {
 public:
  explicit Model(const ModelConfig& config);

  // Memory and initial values; hash tables balanced by `token_counts` (empty: uniform).
  void allocate() { store_.allocate(); }
  void initialise(std::uint64_t seed, std::span<const std::int64_t> token_counts);

  // recompute: every block keeps its input only.
  Loss loss(Tape& tape, const Batch& batch, const LossWeights& weights, bool recompute,
            ModelStats* stats);
  // Without targets' loss: logits [N, V], and MTP's where it exists and is asked for.
  struct Activations {
    std::vector<Tensor> streams;  // X before each block and after the last, [N, n, C]
    Tensor logits, mtp_logits;    // [N, V]
  };
  Activations activations(Tape& tape, const Batch& batch, bool with_mtp);
  // Logits of the chosen rows alone [rows, V].
  Tensor logits_of_rows(Tape& tape, const Batch& batch, std::span<const std::int64_t> rows);

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
    Tensor X, balance;
  };
  Trunk run_blocks(Tape& tape, Tensor X, const BatchTensors& batch, bool recompute,
                   ModelStats* stats, std::vector<Tensor>* streams);
  Block::Result run_mtp(Tape& tape, Tensor X, const BatchTensors& batch, bool recompute,
                        MoeStats* stats);
  Block::Result run_block(Tape& tape, const Block& block, Tensor X, Tensor tokens,
                          const BatchTensors& batch, bool recompute, MoeStats* stats);
  const BatchTensors& begin(Tape& tape, const Batch& batch);
  Tensor norm_of_head(Tape& tape, Tensor X);

  ModelConfig config_;
  ParamStore store_;
  BatchTensors batch_;  // of the micro-batch on the tape; recomputed blocks read it in backward
  RopeTableStorage rope_main_;
  ModelParam *embed_, *norm_, *head_;
  std::deque<Block> blocks_;
  std::unique_ptr<ResidualHead> hc_head_;
  std::shared_ptr<Mtp> mtp_;
};

}  // namespace shoal

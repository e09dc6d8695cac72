#pragma once
#include <optional>

#include "autograd/ops/attention.h"
#include "layers/attention/indexer.h"
#include "layers/precision.h"

namespace shoal {

// The rotary angles of a model's two kinds of layers (spec 2.3).
struct RopeTables {
  RopeTable main, compress;
};

// What a step asks of the indexers.
struct IndexerPlan {
  IndexerMode mode = IndexerMode::kSparse;
  bool learns = false;    // compute the KL loss, where the mode has one
  bool compares = false;  // where FP4 chooses, say also what float32 would have chosen
};

// An attention sublayer of any kind (spec 2): x [N, C] -> [N, C].
class AttentionLayer {
 public:
  // prefix: "layers.3.attn."
  AttentionLayer(ParamStore& store, const std::string& prefix, const ModelConfig& config,
                 AttentionKind kind, double std);

  // What the softmax was taken over, for measuring.
  struct Softmax {
    Tensor q, kv, lse;  // see attention()
    Entries entries;
  };
  struct Result {
    Tensor y;
    Tensor chosen;         // [N, k] i32; null: every row looks at all that it may see
    IndexLoss index_loss;  // null tensors where there is none
    Tensor exact = {};     // like `chosen`, from unrounded scores; null unless compared
    Softmax softmax = {};
  };
  Result forward(Tape& tape, Tensor x_NC, const BatchTensors& batch, const RopeTables& ropes,
                 const IndexerPlan& mode, const Precision& precision) const;

  // The steps of forward(), for decoding from a cache.
  Tensor latent(Tape& tape, Tensor x_NC) const;  // u of spec 2.1
  Tensor queries(Tape& tape, Tensor latent, Tensor position, RopeTable rope) const;
  Tensor raw_keys(Tape& tape, Tensor x_NC, Tensor position, RopeTable rope, bool fp8) const;
  Attended attend(Tape& tape, Tensor q, Tensor kv, Tensor first, Tensor position, RopeTable rope,
                  const Entries& entries) const;
  Tensor output(Tape& tape, Tensor o) const;
  // Where the probability of a forward pass's rows went.
  AttentionMass mass(const Softmax& softmax, const BatchTensors& batch) const;
  RopeTable rope(const RopeTables& ropes) const;
  // Does forward() compute an index loss?
  bool learns(const IndexerPlan& mode) const {
    return indexer_ && mode.mode != IndexerMode::kDense && mode.learns;
  }
  const Compressor* compressor() const { return compressor_ ? &*compressor_ : nullptr; }
  const Indexer* indexer() const { return indexer_ ? &*indexer_ : nullptr; }

  AttentionKind kind() const { return kind_; }

 private:
  std::int64_t window(Tensor kv) const {
    return kind_ == AttentionKind::kFull ? kv.shape.rows() : config_.sliding_window;
  }

  const ModelConfig& config_;
  AttentionKind kind_;
  ModelParam &wq_a_, &q_norm_, &wq_b_, &wkv_, &kv_norm_, &sink_, &wo_a_, &wo_b_;
  std::optional<Compressor> compressor_;
  std::optional<Indexer> indexer_;
};

}  // namespace shoal

#include "layers/attention/attention.h"

#include "autograd/ops/head_norm_rope.h"
#include "autograd/ops/index_choice.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/rms_norm.h"
#include "autograd/ops/round_entries.h"
#include "layers/norm.h"

namespace shoal {
namespace {

// The same numbers, to which no gradient flows.
Tensor detached(Tensor x) {
  x.id = kConstant;
  return x;
}

}  // namespace

AttentionLayer::AttentionLayer(ParamStore& store, const std::string& prefix,
                               const ModelConfig& config, AttentionKind kind, double std)
    : config_(config),
      kind_(kind),
      wq_a_(add_matrix(store, prefix + "wq_a.weight", ParamRole::kAttention, config.q_lora_rank,
                       config.hidden_size, std)),
      q_norm_(add_norm(store, prefix + "q_norm.weight", config.q_lora_rank)),
      wq_b_(add_matrix(store, prefix + "wq_b.weight", ParamRole::kAttention,
                       config.num_attention_heads * config.head_dim, config.q_lora_rank, std)),
      wkv_(add_matrix(store, prefix + "wkv.weight", ParamRole::kAttention, config.head_dim,
                      config.hidden_size, std)),
      kv_norm_(add_norm(store, prefix + "kv_norm.weight", config.head_dim)),
      sink_(store.add({.name = prefix + "attn_sink",
                       .shape = {config.num_attention_heads},
                       .role = ParamRole::kAttention,
                       .matrix = false,
                       .decay = false,
                       .init = Init::kZeros})),
      wo_a_(add_matrix(store, prefix + "wo_a.weight", ParamRole::kAttention,
                       config.o_groups * config.o_lora_rank,
                       config.num_attention_heads / config.o_groups * config.head_dim, std,
                       std::vector<std::int64_t>(static_cast<std::size_t>(config.o_groups),
                                                 config.o_lora_rank))),
      wo_b_(add_matrix(store, prefix + "wo_b.weight", ParamRole::kAttention, config.hidden_size,
                       config.o_groups * config.o_lora_rank, std)) {
  const std::int64_t rate = config.compress_rate(kind);
  if (rate == 0) return;
  const bool sparse = kind == AttentionKind::kCompressedSparse;
  compressor_.emplace(store, prefix + "compressor.", config, config.head_dim, rate, sparse, std);
  if (!sparse) return;
  const ParamStore::InGroup indexers(store, ParamGroup::kIndexer, ParamRole::kIndexer);
  indexer_.emplace(store, prefix + "indexer.", config, std);
}

RopeTable AttentionLayer::rope(const RopeTables& ropes) const {
  return compressor_ ? ropes.compress : ropes.main;
}

Tensor AttentionLayer::latent(Tape& tape, Tensor x_NC) const {
  return rms_norm(tape, linear(tape, x_NC, wq_a_.weight()), q_norm_.weight(),
                  static_cast<float>(config_.rms_norm_eps));
}

Tensor AttentionLayer::queries(Tape& tape, Tensor latent, Tensor position, RopeTable rope) const {
  return head_norm_rope(tape, linear(tape, latent, wq_b_.weight()), {}, config_.head_dim, rope,
                        position, static_cast<float>(config_.rms_norm_eps));
}

Tensor AttentionLayer::raw_keys(Tape& tape, Tensor x_NC, Tensor position, RopeTable rope,
                                bool fp8) const {
  const Tensor kv =
      head_norm_rope(tape, linear(tape, x_NC, wkv_.weight()), kv_norm_.weight(), config_.head_dim,
                     rope, position, static_cast<float>(config_.rms_norm_eps));
  return fp8 ? round_entries(tape, kv, config_.head_dim - config_.qk_rope_head_dim) : kv;
}

Attended AttentionLayer::attend(Tape& tape, Tensor q, Tensor kv, Tensor first, Tensor position,
                                RopeTable rope, const Entries& entries) const {
  return attention(tape, q, kv, sink_.weight(), first, position, rope, window(kv), entries);
}

AttentionMass AttentionLayer::mass(const Softmax& softmax, const BatchTensors& batch) const {
  return attention_mass(softmax.q, softmax.kv, sink_.weight(), batch.first, window(softmax.kv),
                        softmax.entries, softmax.lse, batch.valid);
}

Tensor AttentionLayer::output(Tape& tape, Tensor o) const {
  return linear(tape, grouped_linear(tape, o, wo_a_.weight(), config_.o_groups), wo_b_.weight());
}

AttentionLayer::Result AttentionLayer::forward(Tape& tape, Tensor x_NC, const BatchTensors& batch,
                                               const RopeTables& ropes, const IndexerPlan& mode,
                                               const Precision& precision) const {
  const RopeTable rope = this->rope(ropes);
  const Tensor u = latent(tape, x_NC);
  const Tensor q = queries(tape, u, batch.position, rope);
  const Tensor kv = raw_keys(tape, x_NC, batch.position, rope, precision.fp8_kv);
  if (!compressor_) {
    const Attended attended = attend(tape, q, kv, batch.first, batch.position, rope, {});
    return {output(tape, attended.o), {}, {}, {}, {q, kv, attended.lse, {}}};
  }
  const EntryLayout& layout = batch.entries_of(kind_);
  Entries entries{compressor_->pool(tape, compressor_->project(tape, x_NC), layout.rows, rope,
                                    precision.fp8_kv ? EntryRounding::kFp8 : EntryRounding::kNone),
                  layout.begin,
                  layout.count,
                  {}};
  // Where everybody may look at all entries, choosing changes nothing.
  const bool chooses =
      indexer_ && mode.mode == IndexerMode::kSparse && layout.most_visible > config_.index_topk;
  IndexScores scores;
  Tensor exact;
  if (chooses || learns(mode)) {
    const Tensor x = detached(x_NC);
    const Compressor& keys = indexer_->compressor();
    const bool fp4 = precision.fp4_indexer;
    scores = {indexer_->queries(tape, detached(u), batch.position, rope, fp4),
              keys.pool(tape, keys.project(tape, x), layout.rows, rope, Indexer::rounding(fp4)),
              indexer_->weights(tape, x), layout.begin, layout.count};
    const std::int64_t k = config_.index_topk;
    if (chooses && fp4) {
      entries.chosen = choose_entries_fp4(tape, scores, pack_keys(tape, scores.key), k);
      if (mode.compares) {
        const IndexScores unrounded{
            indexer_->queries(tape, detached(u), batch.position, rope, false),
            keys.pool(tape, keys.project(tape, x), layout.rows, rope), scores.weight, layout.begin,
            layout.count};
        exact = choose_entries(tape, unrounded, k);
      }
    } else if (chooses) {
      entries.chosen = choose_entries(tape, scores, k);
    }
  }
  const Attended attended = attend(tape, q, kv, batch.first, batch.position, rope, entries);
  Result result{
      output(tape, attended.o), entries.chosen, {}, exact, {q, kv, attended.lse, entries}};
  if (learns(mode)) {
    result.index_loss =
        index_loss(tape, scores, {detached(q), detached(entries.value), attended.lse},
                   entries.chosen, batch.valid);
  }
  return result;
}

}  // namespace shoal

#include "layers/model.h"

#include <algorithm>
#include <cmath>

#include "autograd/ops/cross_entropy.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/embedding.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/rms_norm.h"
#include "autograd/recompute.h"
#include "layers/moe/hash_table.h"
#include "layers/norm.h"

namespace shoal {
namespace {

double matrix_std(const ModelConfig& config) {
  if (config.init.std > 0.0) return config.init.std;
  return config.hidden_size >= 2048 ? 0.006
                                    : 0.5 / std::sqrt(static_cast<double>(config.hidden_size));
}

// A block as plain data, for recompute().
struct BlockCall {
  const Block* block;
  BlockInput input;
  Tensor tokens;
  MoeStats* stats;

  void operator()(Tape& tape, std::span<const Tensor> x, std::span<Tensor> y) const {
    const Block::Result r = block->forward(tape, x[0], tokens, input, stats);
    std::size_t k = 0;
    y[k++] = r.X;
    for (const Tensor& t : {r.balance, r.index_loss.kl, r.index_loss.uniform}) {
      if (t) y[k++] = t;
    }
  }
};

// sum += x, where there is an x.
void add_to(Tape& tape, Tensor& sum, const Tensor& x) {
  if (!x) return;
  const std::array<Term, 2> terms{Term{sum, 1.0F}, Term{x, 1.0F}};
  sum = weighted_sum(tape, terms);
}

}  // namespace

// The MTP module of depth 1 (spec 6).
struct Model::Mtp {
  Mtp(ParamStore& store, const ModelConfig& config, double std)
      : enorm(add_norm(store, "mtp.0.enorm.weight", config.hidden_size)),
        hnorm(add_norm(store, "mtp.0.hnorm.weight", config.hidden_size)),
        e_proj(
            add_matrix(store, "mtp.0.e_proj.weight", config.hidden_size, config.hidden_size, std)),
        h_proj(
            add_matrix(store, "mtp.0.h_proj.weight", config.hidden_size, config.hidden_size, std)),
        block(store, "mtp.0.", config, AttentionKind::kSliding, FeedForwardKind::kMoe, std),
        head(store, "mtp.0.hc_head", config),
        norm(add_norm(store, "mtp.0.norm.weight", config.hidden_size)) {}

  ModelParam &enorm, &hnorm, &e_proj, &h_proj;
  Block block;
  ResidualHead head;
  ModelParam& norm;
};

Model::Model(const ModelConfig& config)
    : config_(config),
      rope_main_(config.rope_main, config.qk_rope_head_dim / 2),
      rope_compress_(config.rope_compress, config.qk_rope_head_dim / 2) {
  const double std = matrix_std(config_);
  const std::int64_t V = config_.vocab_size, C = config_.hidden_size;
  embed_ = &store_.add({.name = "embed.weight", .shape = {V, C}, .matrix = false, .std = std});
  for (std::size_t l = 0; l < config_.layer_types.size(); ++l) {
    blocks_.emplace_back(store_, "layers." + std::to_string(l) + ".", config_,
                         config_.layer_types[l], config_.mlp_layer_types[l], std);
  }
  hc_head_ = std::make_unique<ResidualHead>(store_, "hc_head", config_);
  norm_ = &add_norm(store_, "norm.weight", C);
  head_ = &store_.add({.name = "head.weight", .shape = {V, C}, .matrix = false, .std = std});
  if (config_.num_nextn_predict_layers > 0) mtp_ = std::make_shared<Mtp>(store_, config_, std);
}

void Model::initialise(std::uint64_t seed, std::span<const std::int64_t> token_counts) {
  store_.initialise(seed);
  for (std::size_t l = 0; l < blocks_.size(); ++l) {
    if (ModelBuffer* table = blocks_[l].feed_forward().table()) {
      fill_balanced_table(token_counts, config_.vocab_size, config_.n_routed_experts,
                          config_.num_experts_per_tok, seed, static_cast<std::int64_t>(l),
                          table->value.as<std::int32_t>());
    }
  }
}

ModelStats Model::make_stats() const {
  ModelStats stats;
  for (const Block* block : all_blocks()) {
    const bool dense = block->feed_forward().kind() == FeedForwardKind::kDense;
    stats.emplace_back();
    stats.back().load.resize(static_cast<std::size_t>(dense ? 0 : config_.n_routed_experts));
  }
  return stats;
}

const Block* Model::mtp_block() const { return mtp_ ? &mtp_->block : nullptr; }

std::vector<const Block*> Model::all_blocks() const {
  std::vector<const Block*> all;
  for (const Block& block : blocks_) all.push_back(&block);
  if (mtp_) all.push_back(&mtp_->block);
  return all;
}

BlockInput Model::begin(Tape& tape, const Batch& batch, const IndexerPlan& mode) {
  const RopeTables tables = ropes(batch.T);
  for (ModelParam& p : store_.params()) {
    // The embedding stays in: without it nothing would reach a recomputed block, which is run again
    // only because its input takes a gradient.
    if (mode.mode == IndexerMode::kWarmup && !is_indexer(p) && &p != embed_) continue;
    tape.leaf(p);
  }
  batch_ = upload(tape, batch, config_);
  return {&batch_, tables, mode};
}

Block::Result Model::run_block(Tape& tape, const Block& block, Tensor X, Tensor tokens,
                               const BlockInput& input, bool recompute_blocks, MoeStats* stats) {
  if (!recompute_blocks) return block.forward(tape, X, tokens, input, stats);
  std::array<Tensor, 4> y;
  y[0].shape = X.shape;
  std::size_t count = 1;
  const bool balance = block.feed_forward().has_balance();
  const bool learns = block.attention().learns(input.indexer);
  if (balance) y[count++].shape = {1};
  for (int k = 0; learns && k < 2; ++k) y[count++].shape = {1};
  const Label label(tape, block.label());
  recompute(tape, BlockCall{&block, input, tokens, stats}, std::span<const Tensor>(&X, 1),
            std::span<Tensor>(y.data(), count));
  Block::Result result{y[0], balance ? y[1] : Tensor{}, {}, {}};
  if (learns) result.index_loss = {y[count - 2], y[count - 1]};
  return result;
}

Model::Trunk Model::run_blocks(Tape& tape, Tensor X, const BlockInput& input, bool recompute,
                               ModelStats* stats, Activations* activations) {
  Trunk trunk{X, {}, {}};
  for (std::size_t l = 0; l < blocks_.size(); ++l) {
    if (activations != nullptr) activations->streams.push_back(trunk.X);
    const Block::Result r = run_block(tape, blocks_[l], trunk.X, input.batch->tokens, input,
                                      recompute, stats != nullptr ? &(*stats)[l] : nullptr);
    trunk.X = r.X;
    add_to(tape, trunk.balance, r.balance);
    add_to(tape, trunk.index_kl, r.index_loss.kl);
    if (stats != nullptr && r.index_loss.kl && !parallel_is_off()) {
      (*stats)[l].index = {*r.index_loss.kl.as<float>(), *r.index_loss.uniform.as<float>()};
    }
    if (activations != nullptr) activations->chosen.push_back(r.chosen);
  }
  if (activations != nullptr) activations->streams.push_back(trunk.X);
  return trunk;
}

Block::Result Model::run_mtp(Tape& tape, Tensor X, const BlockInput& input, bool recompute,
                             MoeStats* stats) {
  const Label label(tape, "mtp.0");
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  const std::int64_t N = X.shape[0], n = X.shape[1], C = X.shape[2];
  const Tensor embedded = reshape(embedding(tape, embed_->value, input.batch->next, 1), {N, C});
  const Tensor e =
      linear(tape, rms_norm(tape, embedded, mtp_->enorm.value, eps), mtp_->e_proj.value);
  const Tensor h = linear(tape, rms_norm(tape, reshape(X, {N * n, C}), mtp_->hnorm.value, eps),
                          mtp_->h_proj.value);
  const Tensor joined = add_to_streams(tape, reshape(h, {N, n, C}), e);
  return run_block(tape, mtp_->block, joined, input.batch->next, input, recompute, stats);
}

RopeTables Model::ropes(std::int64_t positions) {
  rope_main_.grow(positions);
  rope_compress_.grow(positions);
  return {rope_main_.table(), rope_compress_.table()};
}

Tensor Model::embed(Tape& tape, Tensor tokens) const {
  return embedding(tape, embed_->value, tokens, Residual::streams(config_));
}

Tensor Model::logits(Tape& tape, Tensor X) const {
  return linear(tape, norm_of_head(tape, X), head_->value);
}

Tensor Model::norm_of_head(Tape& tape, Tensor X) const {
  return rms_norm(tape, hc_head_->forward(tape, X), norm_->value,
                  static_cast<float>(config_.rms_norm_eps));
}

Loss Model::loss(Tape& tape, const Batch& batch, const LossWeights& weights, const RunMode& mode,
                 ModelStats* stats) {
  const BlockInput input = begin(tape, batch, {mode.indexer, weights.index_kl != 0.0});
  const BatchTensors& b = *input.batch;
  const Tensor X0 = embed(tape, b.tokens);
  const Trunk trunk = run_blocks(tape, X0, input, mode.recompute, stats, nullptr);
  Loss loss;
  loss.balance = trunk.balance;
  loss.index_kl = trunk.index_kl;
  {
    const Label label(tape, "head");
    loss.ce = cross_entropy(tape, norm_of_head(tape, trunk.X), head_->value, b.targets);
  }
  if (mtp_ && weights.mtp) {
    const Block::Result r =
        run_mtp(tape, trunk.X, input, mode.recompute, stats != nullptr ? &stats->back() : nullptr);
    const Label label(tape, "mtp.0");
    const Tensor h = rms_norm(tape, mtp_->head.forward(tape, r.X), mtp_->norm.value,
                              static_cast<float>(config_.rms_norm_eps));
    loss.mtp = cross_entropy(tape, h, head_->value, b.second);
    add_to(tape, loss.balance, r.balance);
  }
  if (mode.indexer == IndexerMode::kWarmup) {
    loss.ce.id = loss.mtp.id = loss.balance.id = kConstant;  // said, but not learned
  }
  const std::array<Term, 4> terms{Term{loss.ce, static_cast<float>(weights.ce)},
                                  Term{loss.mtp, static_cast<float>(weights.mtp.value_or(0.0))},
                                  Term{loss.balance, static_cast<float>(weights.balance)},
                                  Term{loss.index_kl, static_cast<float>(weights.index_kl)}};
  loss.total = weighted_sum(tape, terms);
  return loss;
}

Model::Activations Model::activations(Tape& tape, const Batch& batch, bool with_mtp,
                                      IndexerMode stage) {
  const NoGrad off(tape);
  const BlockInput input = begin(tape, batch, {stage, false});
  Activations out;
  out.sparse = input.batch->sparse;
  const Tensor X0 = embed(tape, input.batch->tokens);
  const Trunk trunk = run_blocks(tape, X0, input, false, nullptr, &out);
  out.logits = logits(tape, trunk.X);
  if (mtp_ && with_mtp) {
    const Block::Result r = run_mtp(tape, trunk.X, input, false, nullptr);
    const Tensor h = rms_norm(tape, mtp_->head.forward(tape, r.X), mtp_->norm.value,
                              static_cast<float>(config_.rms_norm_eps));
    out.mtp_logits = linear(tape, h, head_->value);
  }
  return out;
}

Tensor Model::logits_of_rows(Tape& tape, const Batch& batch, std::span<const std::int64_t> rows,
                             IndexerMode stage) {
  const NoGrad off(tape);
  const BlockInput input = begin(tape, batch, {stage, false});
  const Tensor X0 = embed(tape, input.batch->tokens);
  const Tensor X = run_blocks(tape, X0, input, false, nullptr, nullptr).X;
  const std::int64_t width = X.shape[1] * X.shape[2];
  const Tensor picked =
      tape.alloc({static_cast<std::int64_t>(rows.size()), X.shape[1], X.shape[2]});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(X.as<float>() + rows[i] * width, width,
                picked.as<float>() + static_cast<std::int64_t>(i) * width);
  }
  return logits(tape, picked);
}

}  // namespace shoal

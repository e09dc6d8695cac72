#include "layers/model.h"

#include <array>
#include <cmath>
#include <cstring>

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

// Small integers of a block, kept beside its outputs when it is run again: the same ones again.
void copy_if_any(const Tape& tape, const Tensor& from, const Tensor& to) {
  if (to && !tape.is_dry()) std::memcpy(to.data, from.data, to.bytes());
}

// A block as plain data, for recompute().
struct BlockCall {
  const Block* block;
  BlockInput input;
  Tensor tokens;
  RoutePlan plan;
  Routes routes;  // where the block's go
  std::size_t place;
  BlockObserver* observer;

  void operator()(Tape& tape, std::span<const Tensor> x, std::span<Tensor> y) const {
    const Block::Result r = block->forward(tape, x[0], tokens, input, plan);
    copy_if_any(tape, r.routes.ids, routes.ids);
    copy_if_any(tape, r.routes.load, routes.load);
    copy_if_any(tape, r.routes.clamped, routes.clamped);
    if (observer != nullptr && !tape.is_replaying()) observer->see(place, input, r);
    std::size_t k = 0;
    y[k++] = r.X;
    for (const Tensor& t : {r.balance, r.index_loss.kl, r.index_loss.uniform}) {
      if (t) y[k++] = t;
    }
  }
};

// The block with its input alone kept for the backward pass.
Block::Result run_again_later(Tape& tape, const Block& block, Tensor X, Tensor tokens,
                              const BlockInput& input, const RoutePlan& plan, std::size_t place,
                              BlockObserver* observer) {
  Block::Result result;
  result.routes = block.feed_forward().shapes_of_routes(X.shape[0]);
  for (Tensor* t : {&result.routes.ids, &result.routes.load, &result.routes.clamped}) {
    if (t->shape.rank > 0) *t = tape.alloc(t->shape, t->dtype);
  }
  std::array<Tensor, 4> y;
  y[0].shape = X.shape;
  std::size_t count = 1;
  const bool balance = block.feed_forward().has_balance();
  const bool learns = block.attention().learns(input.indexer);
  if (balance) y[count++].shape = {1};
  for (int k = 0; learns && k < 2; ++k) y[count++].shape = {1};
  const Label label(tape, block.label());
  recompute(tape, BlockCall{&block, input, tokens, plan, result.routes, place, observer},
            std::span<const Tensor>(&X, 1), std::span<Tensor>(y.data(), count));
  result.X = y[0];
  if (balance) result.balance = y[1];
  if (learns) result.index_loss = {y[count - 2], y[count - 1]};
  return result;
}

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
        e_proj(add_matrix(store, "mtp.0.e_proj.weight", ParamRole::kMtp, config.hidden_size,
                          config.hidden_size, std)),
        h_proj(add_matrix(store, "mtp.0.h_proj.weight", ParamRole::kMtp, config.hidden_size,
                          config.hidden_size, std)),
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
  embed_ = &store_.add({.name = "embed.weight",
                        .shape = {V, C},
                        .role = ParamRole::kEmbedding,
                        .matrix = false,
                        .std = std});
  for (std::size_t l = 0; l < config_.layer_types.size(); ++l) {
    blocks_.emplace_back(store_, "layers." + std::to_string(l) + ".", config_,
                         config_.layer_types[l], config_.mlp_layer_types[l], std);
  }
  hc_head_ = std::make_unique<ResidualHead>(store_, "hc_head", config_);
  norm_ = &add_norm(store_, "norm.weight", C);
  head_ = &store_.add({.name = "head.weight",
                       .shape = {V, C},
                       .role = ParamRole::kHead,
                       .matrix = false,
                       .std = std});
  if (config_.num_nextn_predict_layers > 0) {
    const ParamStore::InGroup all_of_it(store_, ParamGroup::kModel, ParamRole::kMtp);
    mtp_ = std::make_shared<Mtp>(store_, config_, std);
  }
  for (const Block* block : all_blocks()) {
    for (ModelParam* weights : block->feed_forward().routed_weights()) {
      if (weights != nullptr) rounded_.add(*weights);
    }
  }
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

const Block* Model::mtp_block() const { return mtp_ ? &mtp_->block : nullptr; }

std::vector<const Block*> Model::all_blocks() const {
  std::vector<const Block*> all;
  for (const Block& block : blocks_) all.push_back(&block);
  if (mtp_) all.push_back(&mtp_->block);
  return all;
}

BlockInput Model::begin(Tape& tape, const Batch& batch, const IndexerPlan& indexer) {
  const RopeTables tables = ropes(batch.T);
  for (ModelParam& p : store_.params()) {
    // The embedding stays in: without it nothing would reach a recomputed block, which is run again
    // only because its input takes a gradient.
    const bool frozen = indexer.mode == IndexerMode::kWarmup && p.group != ParamGroup::kIndexer;
    if (!frozen || &p == embed_) tape.leaf(p);
  }
  batch_ = upload(tape, batch, config_);
  return {&batch_, tables, indexer, precision_};
}

Tensor Model::run_block(Tape& tape, std::size_t l, const Block& block, Tensor X, Tensor tokens,
                        Hidden& hidden) {
  RoutePlan plan{{}, hidden.plan.dispatch};
  if (l < hidden.plan.given_ids.size()) plan.ids = hidden.plan.given_ids[l];
  Block::Result& result = hidden.blocks[l];
  BlockObserver* const observer = hidden.plan.observer;
  if (hidden.plan.recompute) {
    result = run_again_later(tape, block, X, tokens, hidden.input, plan, l, observer);
  } else {
    result = block.forward(tape, X, tokens, hidden.input, plan);
    if (observer != nullptr) observer->see(l, hidden.input, result);
  }
  add_to(tape, hidden.balance, result.balance);
  add_to(tape, hidden.index_kl, result.index_loss.kl);
  return result.X;
}

Hidden Model::forward(Tape& tape, const Batch& batch, const ForwardPlan& plan) {
  results_.assign(blocks_.size() + (mtp_ ? 1 : 0), {});
  Hidden hidden;
  hidden.plan = plan;
  hidden.blocks = results_;
  hidden.input = begin(tape, batch, plan.indexer);
  hidden.X = hidden.X0 = embed(tape, batch_.tokens);
  for (std::size_t l = 0; l < blocks_.size(); ++l) {
    hidden.X = run_block(tape, l, blocks_[l], hidden.X, batch_.tokens, hidden);
  }
  return hidden;
}

Tensor Model::forward_mtp(Tape& tape, Hidden& hidden) {
  CHECK(mtp_, "forward_mtp: a model without MTP");
  const Label label(tape, "mtp.0");
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  const Tensor X = hidden.X;
  const std::int64_t N = X.shape[0], n = X.shape[1], C = X.shape[2];
  const Tensor embedded = reshape(embedding(tape, embed_->weight(), batch_.next, 1), {N, C});
  const Tensor e =
      linear(tape, rms_norm(tape, embedded, mtp_->enorm.weight(), eps), mtp_->e_proj.weight());
  const Tensor h = linear(tape, rms_norm(tape, reshape(X, {N * n, C}), mtp_->hnorm.weight(), eps),
                          mtp_->h_proj.weight());
  const Tensor joined = add_to_streams(tape, reshape(h, {N, n, C}), e);
  return run_block(tape, blocks_.size(), mtp_->block, joined, batch_.next, hidden);
}

void Model::set_precision(const Precision& precision) {
  precision_ = precision;
  const bool has_memory = store_.values().data() != nullptr;  // else shapes are all that counts
  if (precision.fp4_experts && has_memory) {
    rounded_.round();
  } else {
    rounded_.release();
  }
}

RopeTables Model::ropes(std::int64_t positions) {
  rope_main_.grow(positions);
  rope_compress_.grow(positions);
  return {rope_main_.table(), rope_compress_.table()};
}

Tensor Model::embed(Tape& tape, Tensor tokens) const {
  return embedding(tape, embed_->weight(), tokens, Residual::streams(config_));
}

Tensor Model::head_input(Tape& tape, Tensor X) const {
  return rms_norm(tape, hc_head_->forward(tape, X), norm_->weight(),
                  static_cast<float>(config_.rms_norm_eps));
}

Tensor Model::mtp_head_input(Tape& tape, Tensor X) const {
  return rms_norm(tape, mtp_->head.forward(tape, X), mtp_->norm.weight(),
                  static_cast<float>(config_.rms_norm_eps));
}

Tensor Model::logits(Tape& tape, Tensor X) const {
  return linear(tape, head_input(tape, X), head());
}

Tensor Model::logits_of_rows(Tape& tape, Tensor X, std::span<const std::int64_t> rows) const {
  const NoGrad off(tape);
  const std::int64_t width = X.shape[1] * X.shape[2];
  const Tensor picked =
      tape.alloc({static_cast<std::int64_t>(rows.size()), X.shape[1], X.shape[2]});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::copy_n(X.as<float>() + rows[i] * width, width,
                picked.as<float>() + static_cast<std::int64_t>(i) * width);
  }
  return logits(tape, picked);
}

Model::Activations Model::activations(Tape& tape, const Batch& batch, bool with_mtp,
                                      IndexerMode mode) {
  const NoGrad off(tape);
  Hidden hidden = forward(tape, batch, {.indexer = {mode, false}});
  Activations out;
  out.sparse = batch_.sparse;
  out.streams.push_back(hidden.X0);
  for (std::size_t l = 0; l < blocks_.size(); ++l) {
    out.streams.push_back(results_[l].X);
    out.chosen.push_back(results_[l].chosen);
  }
  out.logits = logits(tape, hidden.X);
  if (mtp_ && with_mtp) {
    out.mtp_logits = linear(tape, mtp_head_input(tape, forward_mtp(tape, hidden)), head());
  }
  return out;
}

}  // namespace shoal

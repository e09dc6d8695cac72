#include "train/stability/anticipatory.h"

#include <algorithm>
#include <utility>

#include "autograd/base/rng.h"
#include "autograd/base/trace.h"

namespace shoal {
namespace {

bool learns_to_route(const Block& block) { return block.feed_forward().bias() != nullptr; }

// Says which batches these are, whatever moved the data meanwhile: a skipped step, another corpus.
std::uint64_t key_of_batches(std::span<const Batch> batches) {
  std::uint64_t key = 1;
  const auto add = [&](const std::vector<std::int32_t>& list) {
    key = hash_bytes(list.data(), list.size() * sizeof(std::int32_t), key);
  };
  for (const Batch& batch : batches) {
    key = hash_bytes(&batch.T, sizeof(batch.T), key);
    add(batch.tokens);
    add(batch.first);
  }
  return key;
}

}  // namespace

AnticipatoryRouting::AnticipatoryRouting(Model& model, Tape& tape, const AnticipatoryConfig& config,
                                         Ahead ahead)
    : model_(model),
      tape_(tape),
      config_(config),
      ahead_(std::move(ahead)),
      blocks_(model.all_blocks()) {}

std::int64_t AnticipatoryRouting::until() const {
  const std::int64_t end = ahead_.end > 0 ? ahead_.end : std::numeric_limits<std::int64_t>::max();
  if (config_.mode == AnticipatoryMode::kAlways) return end;
  const bool replays = config_.drain == RoutingDrain::kReplay;
  return std::min(end, begun_ + config_.steps + (replays ? config_.lag : 0));
}

bool AnticipatoryRouting::update(std::int64_t done) {
  const bool was_on = is_on();
  if (config_.mode == AnticipatoryMode::kAlways) {
    if (!was_on) begin(done);
  } else if (was_on && (config_.mode == AnticipatoryMode::kOff || done >= until())) {
    begun_ = -1;
  }
  if (!is_on()) {
    keys_.clear();
    lengths_.clear();
    ids_.clear();
  }
  return is_on() != was_on;
}

std::int64_t AnticipatoryRouting::length_of(std::span<const Batch> batches, bool mtp) const {
  std::int64_t rows = 0, routers = 0;
  for (const Batch& batch : batches) rows += batch.rows();
  for (const Block* block : blocks_) {
    if (learns_to_route(*block) && (mtp || block != model_.mtp_block())) ++routers;
  }
  return rows * routers * model_.config().num_experts_per_tok;
}

void AnticipatoryRouting::drop_front() {
  ids_.erase(ids_.begin(), ids_.begin() + lengths_.front());
  keys_.erase(keys_.begin());
  lengths_.erase(lengths_.begin());
}

bool AnticipatoryRouting::look_ahead(std::int64_t done, std::span<const Batch> batches,
                                     const std::function<bool()>& give_up) {
  given_.clear();
  entries_before_ = ids_before_ = 0;
  if (!is_on()) return true;
  const StepPlan now = ahead_.plan(done);
  const bool mtp = now.loss.mtp.has_value();
  if (!keys_.empty()) {
    // What no step will ask for: the data lies elsewhere than when it was routed.
    const std::uint64_t key = key_of_batches(batches);
    const std::int64_t length = length_of(batches, mtp);
    while (!keys_.empty() && (keys_.front() != key || lengths_.front() != length)) drop_front();
  }
  entries_before_ = keys_.size();
  ids_before_ = ids_.size();
  // This step's batches need no ids where none are there: it would choose the same ones itself.
  const std::int64_t first = done + std::max<std::int64_t>(1, std::ssize(keys_));
  const std::int64_t last = std::min(done + config_.lag, until() - 1);
  if (first <= last) {
    const TraceSpan span("look_ahead");
    model_.set_precision(now.precision);
    for (std::int64_t j = first; j <= last; ++j) {
      if (!route(j, now, give_up)) {
        undo();
        return false;
      }
    }
  }
  if (entries_before_ == 0) return true;
  const std::int64_t K = model_.config().num_experts_per_tok;
  std::int32_t* at = ids_.data();
  for (const Batch& batch : batches) {
    for (const Block* block : blocks_) {
      given_.emplace_back();
      if (!learns_to_route(*block) || (!mtp && block == model_.mtp_block())) continue;
      given_.back() = {at, {batch.rows(), K}, DType::kI32, kConstant};
      at += batch.rows() * K;
    }
  }
  return true;
}

// With the precision and the indexers' mode of the step at hand, as a training step would now.
bool AnticipatoryRouting::route(std::int64_t done, const StepPlan& now,
                                const std::function<bool()>& give_up) {
  const NoGrad off(tape_);
  const bool mtp = model_.has_mtp() && ahead_.plan(done).loss.mtp.has_value();
  ahead_.batches(done, upcoming_);
  const std::int64_t length = length_of(upcoming_, mtp);
  // All of the queue at once, and nothing in later steps.
  const std::size_t most = static_cast<std::size_t>((config_.lag + 1) * length);
  if (ids_.capacity() < most) ids_.reserve(most);
  for (const Batch& batch : upcoming_) {
    if (give_up && give_up()) return false;
    // Recomputing, of which nothing comes here, forgets all but a block's output.
    Hidden hidden = model_.forward(tape_, batch, {true, {now.indexer, false}});
    if (mtp) model_.forward_mtp(tape_, hidden);
    for (std::size_t l = 0; l < blocks_.size(); ++l) {
      if (!learns_to_route(*blocks_[l]) || !hidden.blocks[l].X) continue;
      const Tensor& ids = hidden.blocks[l].routes.ids;
      ids_.insert(ids_.end(), ids.as<std::int32_t>(), ids.as<std::int32_t>() + ids.shape.numel());
    }
    tape_.end_microbatch();
  }
  keys_.push_back(key_of_batches(upcoming_));
  lengths_.push_back(length);
  return true;
}

void AnticipatoryRouting::batches_used() {
  given_.clear();
  if (entries_before_ > 0) drop_front();
  entries_before_ = 0;
}

void AnticipatoryRouting::undo() {
  given_.clear();
  if (!is_on()) return;
  keys_.resize(entries_before_);
  lengths_.resize(entries_before_);
  ids_.resize(ids_before_);
}

std::size_t AnticipatoryRouting::queue_bytes(const ModelConfig& model,
                                             const AnticipatoryConfig& config,
                                             const BatchSizes& sizes) {
  if (config.mode == AnticipatoryMode::kOff || config.lag == 0) return 0;
  const std::int64_t routers = std::count(model.mlp_layer_types.begin(),
                                          model.mlp_layer_types.end(), FeedForwardKind::kMoe) +
                               model.num_nextn_predict_layers;
  return static_cast<std::size_t>((config.lag + 1) * sizes.batch_tokens * routers *
                                  model.num_experts_per_tok) *
         sizeof(std::int32_t);
}

}  // namespace shoal

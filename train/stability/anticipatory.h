#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "layers/model.h"
#include "train/config/run_config.h"
#include "train/plan/run_plan.h"

namespace shoal {

// What lies ahead of a run, by the number of updates done before it.
struct Ahead {
  std::function<StepPlan(std::int64_t done)> plan;
  std::function<void(std::int64_t done, std::vector<Batch>& into)> batches;
  std::int64_t end = 0;  // the step that never comes; 0: all do
};

// Anticipatory routing (spec 9): features come from the parameters of this step, the choice of
// experts from those of D = lag steps ago. In an active period that begins at step t0
//
//   ids[j]    = ROUTE(theta_t, batch_j)          every j in (t, t + D] that has none yet
//   theta_t+1 = TRAIN(theta_t, batch_t, ids[t])  ids[t] are forgotten
//
// so batch t0 + i goes where theta_(t0 + max(0, i - D)) sent it: the lag rises from 0 to D. ROUTE
// is a forward pass without gradient through all that a learned router reads, the MTP block's
// included; it keeps the ids of the K chosen experts, [N, K] i32 of each learned router, and
// nothing else. Gates, balance loss and loads follow from the ids in the step itself. Hash layers
// need none.
//
// A period that `begin` has begun looks ahead from `steps` steps, but `fresh` not to batches beyond
// them: after t0 + steps - 1 all is as ever. `replay` still uses up the D batches that were routed,
// so it ends D steps later. Under `always` the period has no end.
//
// With D = 0 nothing is looked at, so every bit is that of normal training.
class AnticipatoryRouting {
 public:
  AnticipatoryRouting(Model& model, Tape& tape, const AnticipatoryConfig& config, Ahead ahead);

  // A period begins at the step that follows `done` updates. Batches that have been routed keep
  // their ids.
  void begin(std::int64_t done) { begun_ = done; }
  bool is_on() const { return begun_ >= 0; }
  // The step that is as ever again, or the run's end.
  std::int64_t until() const;
  // Before a step: begins what is always on, ends what is over. True: is_on() has changed.
  bool update(std::int64_t done);

  // Routes what this step has to route; `batches` are its own. False: given up between
  // micro-batches, nothing has changed. Leaves nothing on the tape.
  bool look_ahead(std::int64_t done, std::span<const Batch> batches,
                  const std::function<bool()>& give_up = nullptr);
  // For StepPlan::given_ids, until the next call of anything; empty: the routers choose.
  std::span<const Tensor> given_ids() const { return given_; }
  // The batches of look_ahead() were trained on, or passed over: their ids are forgotten.
  void batches_used();
  // They will come again: what was routed with them is forgotten.
  void undo();

  // Everything that decides how it goes on. Checkpoints from before it existed: off.
  template <class State>
  void add_to(State& state) {
    state.template add_number<std::int64_t>("/state/routing/begun", begun_, -1);
    state.template add_list<std::uint64_t>("/state/routing/batches", keys_,
                                           std::vector<std::uint64_t>());
    state.template add_list<std::int64_t>("/state/routing/lengths", lengths_,
                                          std::vector<std::int64_t>());
    state.template add_list<std::int32_t>("/state/routing/ids", ids_, std::vector<std::int32_t>());
  }

  // Of the ids at their most, where steps have these sizes.
  static std::size_t queue_bytes(const ModelConfig& model, const AnticipatoryConfig& config,
                                 const BatchSizes& sizes);

 private:
  bool route(std::int64_t done, const StepPlan& now, const std::function<bool()>& give_up);
  std::int64_t length_of(std::span<const Batch> batches, bool mtp) const;
  void drop_front();

  Model& model_;
  Tape& tape_;
  AnticipatoryConfig config_;
  Ahead ahead_;
  std::vector<const Block*> blocks_;

  std::int64_t begun_ = -1;  // -1: off
  // The queue, oldest first: which batches, how many ids, the ids by micro-batch, block and row.
  std::vector<std::uint64_t> keys_;
  std::vector<std::int64_t> lengths_;
  std::vector<std::int32_t> ids_;

  // Of the step at hand.
  std::size_t entries_before_ = 0, ids_before_ = 0;
  std::vector<Batch> upcoming_;
  std::vector<Tensor> given_;
};

}  // namespace shoal

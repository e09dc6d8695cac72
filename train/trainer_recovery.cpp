// What a run does about spikes and numbers that are not finite: report, skip, go back, stop.
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "autograd/base/printable.h"
#include "autograd/base/quantity.h"
#include "train/config/show_config.h"
#include "train/metrics/event_record.h"
#include "train/metrics/run_history.h"
#include "train/run/signals.h"
#include "train/trainer.h"

namespace shoal {
namespace fs = std::filesystem;
namespace {

constexpr std::int64_t kMostSkips = 10;  // in a row

// What to try where going back again would lead to the same.
constexpr const char* kRemedies =
    "try a lower optim.lr or optim.clip, or a longer warm-up, in a fork (shoal resume RUN --fork "
    "NEW_RUN optim.lr=...); or let it pass: shoal resume RUN stability.spike.action=report";

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Told of what was undone; they stay when their steps go.
bool tells_of_recovery(const EventRecord& event) {
  const std::string& name = event.event;
  return name == "spike" || name == "rollback" || name == "provoked" || name == "skip";
}

std::string but_for_time(EventRecord event) {
  event.time = 0.0;
  return line_of(json_of(event));
}

Json numbers(const std::vector<StepRecord>& steps, std::int64_t after, double StepRecord::*field) {
  Json list = Json::array();
  for (const StepRecord& s : steps) {
    if (s.step > after) list.push_back(json_number(s.*field));
  }
  return list;
}

std::string sentence_of(const SpikeVerdict& v, double predicted) {
  const bool loss = v.ce_score >= v.norm_score;
  return fmt::format("{} {:.4g} where {:.4g} was to be expected, {:.1f} standard deviations above",
                     loss ? "a cross-entropy of" : "a gradient norm of", loss ? v.ce : v.grad_norm,
                     predicted, v.score());
}

}  // namespace

bool Trainer::watches() const {
  return config_.stability.spike.action != SpikeAction::kOff || config_.stability.rolls_back();
}

SpikeVerdict Trainer::judge(const StepPlan& plan, const StepOutcome& out) const {
  SpikeVerdict verdict = detector_.judge(plan.number, out.loss(), out.parts.ce, out.grads.norm);
  verdict.finite = out.is_finite();
  return verdict;
}

Trainer::Answer Trainer::answer_to(const SpikeVerdict& verdict) const {
  if (!verdict.finite) {
    switch (config_.stability.bad_numbers()) {
      case BadNumbers::kStop:
        return Answer::kStop;
      case BadNumbers::kSkip:
        return Answer::kSkip;
      case BadNumbers::kRollback:
        return Answer::kRollback;
    }
  }
  const SpikeAction action = config_.stability.spike.action;
  if (action == SpikeAction::kSkip && verdict.spike && skipped_in_a_row_ > 0) {
    // The same spike goes on. After so many it is not the data, and nothing is won by waiting.
    return skipped_in_a_row_ < kMostSkips ? Answer::kSkip : Answer::kGoOn;
  }
  if (!verdict.alarm || action == SpikeAction::kOff) return Answer::kGoOn;
  if (action == SpikeAction::kReport) return Answer::kReport;
  return action == SpikeAction::kSkip ? Answer::kSkip : Answer::kRollback;
}

EventRecord Trainer::spike_event(const SpikeVerdict& v, Answer answer) const {
  constexpr const char* kAnswers[] = {"", "report", "skip", "rollback", "stop"};
  Json fields = {
      {"attempted_step", v.step}, {"signal", v.signal()}, {"ce", v.ce}, {"grad_norm", v.grad_norm}};
  if (v.finite) {
    fields["predicted"] = detector_.predicted(v);
    fields["score"] = v.score();
  }
  fields["onset"] = v.onset;
  fields["action"] = kAnswers[static_cast<int>(answer)];
  return {step(), "spike", std::move(fields), seconds_since_1970()};
}

void Trainer::accept(const SpikeVerdict& verdict) {
  if (!watches()) return;
  if (answer_to(verdict) == Answer::kReport) {
    EventRecord spike = spike_event(verdict, Answer::kReport);
    spdlog::warn("step {}: {}", verdict.step, sentence_of(verdict, detector_.predicted(verdict)));
    event(spike.event, std::move(spike.fields));
    detector_.answered(verdict);
  }
  detector_.accept(verdict);
}

// The faults that begin with this step, as their events; `updated`: it is done.
std::vector<EventRecord> Trainer::strike(const StepPlan& plan, bool updated) {
  std::vector<EventRecord> events;
  for (const FaultSpec& fault : plan_.faults_at(plan.number - 1, lasting_.spent)) {
    Json fields = {{"fault", name_of(fault.kind)}, {"attempted_step", plan.number}};
    if (fault.kind == FaultKind::kExpertShock) {
      if (!updated) continue;
      const ShockedExpert shocked = shock_expert(model_, runner_->stats(), plan.expert_shock);
      fields["layer"] = shocked.layer;
      fields["expert"] = shocked.expert;
    } else {
      fields["steps"] = fault.steps;
    }
    if (fault.kind != FaultKind::kBadBatch) fields["factor"] = fault.factor;
    events.push_back({step(), "provoked", std::move(fields), seconds_since_1970()});
  }
  return events;
}

void Trainer::recover(const StepPlan& plan, const StepOutcome& out, const SpikeVerdict& verdict) {
  const Answer answer = answer_to(verdict);
  const std::string what = verdict.finite ? sentence_of(verdict, detector_.predicted(verdict))
                                          : explain_bad_numbers(plan, out);
  if (answer == Answer::kRollback) return roll_back(plan, verdict, what);
  if (answer == Answer::kSkip && skip(plan, verdict, what)) return;
  stop_for_bad_numbers(plan.number, what, answer == Answer::kSkip);
}

// False: too many in a row.
bool Trainer::skip(const StepPlan& plan, const SpikeVerdict& verdict, const std::string& what) {
  for (const EventRecord& fault : strike(plan, false)) event(fault.event, fault.fields);
  if (verdict.finite && skipped_in_a_row_ == 0) {
    EventRecord spike = spike_event(verdict, Answer::kSkip);
    event(spike.event, std::move(spike.fields));
    detector_.answered(verdict);
  }
  event("skip", Json{{"attempted_step", plan.number}, {"reason", what}});
  if (++skipped_in_a_row_ >= kMostSkips && !verdict.finite) return false;
  spdlog::warn("step {} skipped: {}", plan.number, what);
  state_.position.samples += plan.sizes.sequences();
  routing_->batches_used();
  lasting_.spent = std::max(lasting_.spent, plan.number);  // else it would strike the next attempt
  return true;
}

// Killed at any instant of this, the run ends with the same bits: until the checkpoint at its end
// is there, the newest one is from before the spike, and leads to the same rollback.
void Trainer::roll_back(const StepPlan& plan, const SpikeVerdict& verdict,
                        const std::string& what) {
  const SpikeConfig& spike = config_.stability.spike;
  const std::optional<std::int64_t> target = snapshots_->before(verdict.onset);
  if (!target) {
    give_up(verdict, what,
            concat("; no state from before step ", verdict.onset, " is there to go back to"));
  }
  if (lasting_.rollbacks >= spike.max_rollbacks) {
    give_up(verdict, what,
            concat("; ", lasting_.rollbacks, " rollback", lasting_.rollbacks == 1 ? "" : "s",
                   " did not help (stability.spike.max_rollbacks): ", kRemedies));
  }
  const LoadedState state = snapshots_->state_of(*target);  // it has to be there before all else

  // Both histories stay: what was undone as events of the step that the run goes back to.
  const std::string lines = config_.run.dir + "/metrics.jsonl";
  const RunHistory history = read_history(lines);
  std::vector<EventRecord> told;
  for (const EventRecord& e : history.events) {
    if (e.step > *target && tells_of_recovery(e)) told.push_back(e);
  }
  for (EventRecord& fault : strike(plan, false)) told.push_back(std::move(fault));
  told.push_back(spike_event(verdict, Answer::kRollback));
  const Json fields = {
      {"attempted_step", plan.number},
      {"rollback", lasting_.rollbacks + 1},
      {"reason", what},
      {"undone_ce", numbers(history.steps, *target, &StepRecord::ce)},
      {"undone_grad_norm", numbers(history.steps, *target, &StepRecord::grad_norm)}};
  told.push_back({*target, "rollback", fields, seconds_since_1970()});
  for (EventRecord& e : told) {
    e.step = *target;
    const bool there = std::any_of(  // written before a kill
        history.events.begin(), history.events.end(),
        [&](const EventRecord& other) { return but_for_time(other) == but_for_time(e); });
    if (!there) metrics_->write(e);
  }
  progress_->finish();
  ++lasting_.rollbacks;
  lasting_.spent = std::max(lasting_.spent, plan.number);
  spdlog::warn("step {}: {}; back to step {} (rollback {} of {})", plan.number, what, *target,
               lasting_.rollbacks, spike.max_rollbacks);

  folder_->store().discard_after(*target);
  folder_->snapshots().discard_after(*target);
  snapshots_->forget_after(*target);
  const Lasting kept = lasting_;
  state_.restore(state);
  lasting_ = kept;
  // Whatever a rollback turns on begins here: the restored state is not yet saved.
  const bool ahead = config_.stability.anticipatory.mode == AnticipatoryMode::kOnSpike;
  if (ahead) routing_->begin(*target);
  go_back_to(*target);
  if (ahead) say_routing();
  if (tensorboard_) {
    for (const EventRecord& e : told) tensorboard_->write(e);
  }
}

// The records and all that follows from the step, with the state restored.
void Trainer::go_back_to(std::int64_t step) {
  sizes_ = plan_.at(step).sizes;
  runner_->set_micro_batches(sizes_.micro_batches());
  evaluated_step_ = -1;
  evaluation_owed_ = false;
  saved_step_ = -1;
  save();
  metrics_->rewind(step);
  if (tensorboard_) tensorboard_->rewind(step);
  begin_progress();
}

void Trainer::give_up(const SpikeVerdict& verdict, const std::string& what,
                      const std::string& why) {
  EventRecord spike = spike_event(verdict, Answer::kStop);
  event(spike.event, std::move(spike.fields));
  event("gave_up", Json{{"attempted_step", verdict.step},
                        {"rollbacks", lasting_.rollbacks},
                        {"reason", what + why}});
  progress_->finish();
  end_records(verdict.finite ? "spike" : "bad_numbers");
  finish_report();
  reject(Failure::kNumbers, "step ", verdict.step, ": ", what, why);
}

// Which op and layer went bad first: the same step again, watched. The state has not changed, so it
// goes bad again in the same place.
std::string Trainer::explain_bad_numbers(const StepPlan& plan, const StepOutcome& out) {
  std::string what = out.grads.first_bad.empty()
                         ? "the loss is not finite"
                         : "the gradient of " + out.grads.first_bad + " is not finite";
  tape_.trace_numbers(true);
  tape_.forget_bad_number();
  runner_->gradients(batches_, plan, stop_requested);
  tape_.trace_numbers(false);
  if (!tape_.first_bad_number().empty()) what += "; first seen in the " + tape_.first_bad_number();
  return what;
}

void Trainer::stop_for_bad_numbers(std::int64_t step, const std::string& what, bool skipped) {
  std::string end = skipped ? concat(" (", kMostSkips, " steps skipped in a row)")
                            : "; the weights were not changed (stability.on_bad_numbers is stop)";
  const std::int64_t done = this->step();
  if (saved_step_ != done && done > 0) {
    // Finite gradients and an absurd learning rate: the last update itself overflowed.
    const std::string sick = first_not_finite(state_.view().arrays);
    if (sick.empty()) {
      save();  // the last good state
    } else {
      end = concat("; ", sick, " is not finite since step ", done,
                   ", which was not saved (is optim.lr too high?)");
    }
  }
  say_bad_numbers(step, what + end);
  reject(Failure::kNumbers, "step ", step, ": ", what, end);
}

// In the run's own records, before an error ends it.
void Trainer::say_bad_numbers(std::int64_t step, const std::string& reason) {
  event("bad_numbers", Json{{"attempted_step", step}, {"reason", reason}});
  progress_->finish();
  end_records("bad_numbers");
  finish_report();
}

// ---- What there is to go back to ---------------------------------------------------------------

void Trainer::plan_snapshots() {
  if (!config_.stability.rolls_back()) return;
  const SpikeConfig& spike = config_.stability.spike;
  const std::int64_t most = Snapshots::most(spike.snapshot_every, spike.lookback);
  const auto each = static_cast<double>(memory_.parameters + memory_.optimizer);
  const double needed = each * static_cast<double>(most);
  const double free =
      static_cast<double>(available_memory()) - static_cast<double>(memory_.total());
  const auto gib = [](double bytes) { return fmt::format("{:.2f} GiB", bytes / (1 << 30)); };
  snapshots_in_memory_ = needed <= free;
  if (snapshots_in_memory_) {
    spdlog::info("a rollback goes back to one of up to {} snapshots in memory, {} in all", most,
                 gib(needed));
  } else {
    spdlog::warn(
        "up to {} snapshots for a rollback take {} of memory, but only {} are free beside a step: "
        "checkpoints on disk serve instead, one every {} steps (stability.spike.snapshot_every)",
        most, gib(needed), gib(std::max(free, 0.0)), spike.snapshot_every);
  }
}

void Trainer::begin_snapshots() {
  if (!config_.stability.rolls_back()) return;
  const SpikeConfig& spike = config_.stability.spike;
  snapshots_ = std::make_unique<Snapshots>(folder_->snapshots(), spike.snapshot_every,
                                           spike.lookback, step());
}

void Trainer::keep_snapshot() {
  if (!snapshots_ || !snapshots_->is_due(step())) return;
  if (snapshots_in_memory_) return snapshots_->keep(state_.snapshot());
  try {
    store_snapshot(state_.view());
    snapshots_->keep_stored(step());
  } catch (const Error& error) {
    if (error.why() != Failure::kDisk && error.why() != Failure::kNumbers) throw;
    spdlog::warn("no snapshot at step {}: {}; going on", step(), error.what());
  }
}

void Trainer::store_snapshot(StateView view) {
  const SpikeConfig& spike = config_.stability.spike;
  view.config = to_yaml(config_);
  std::error_code ignored;  // the store makes its own folder, and says what is wrong
  fs::create_directory(fs::path(config_.run.dir) / "checkpoints", ignored);
  folder_->snapshots().save(view, manifest_info(),
                            Snapshots::most(spike.snapshot_every, spike.lookback));
}

// Whoever goes on from the checkpoint that is saved next has to find them.
void Trainer::store_snapshots() {
  if (!snapshots_ || plan_.is_complete(step())) return;
  snapshots_->store_older(step(), [&](LoadedState& state) {
    try {
      store_snapshot(state.view());
    } catch (const Error& error) {
      if (error.why() != Failure::kNumbers) throw;
      spdlog::warn("the snapshot of step {} is not stored: {}", state.step, error.what());
    }
  });
}

// The run has reached its end.
void Trainer::drop_snapshots() {
  if (!snapshots_) return;
  folder_->snapshots().discard_after(-1);
  std::error_code ignored;
  fs::remove(fs::path(config_.run.dir) / "checkpoints" / "snapshots", ignored);
}

}  // namespace shoal

#include "train/run/closing.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "train/config/batch_sizes.h"
#include "train/config/show_config.h"
#include "train/metrics/run_history.h"
#include "train/run/divergence.h"

namespace shoal {
namespace {

std::optional<ClosingRemark> undecayed(const RunConfig& config, const ScheduleConfig& schedule,
                                       std::int64_t step) {
  const std::int64_t planned = schedule.total_steps;
  if (planned == 0 || step >= planned || step == 0) return std::nullopt;
  const double lr = learning_rate(schedule, step);
  const bool rising = step < schedule.warmup_steps;
  const bool decays = schedule.decay_share > 0.0 && schedule.end_lr != schedule.lr;
  if (!rising && !decays) return std::nullopt;
  ClosingRemark remark;
  remark.event.event = "undecayed";
  remark.event.fields = {{"lr", lr}, {"end_lr", schedule.end_lr}, {"planned_steps", planned}};
  remark.sentence = fmt::format(
      "train.minutes ({:g}) ended it before the learning rate {} (it is {:.3g}; {}): raise "
      "train.minutes, or plan for fewer steps",
      config.train.minutes, rising ? "had risen" : "had decayed", lr,
      rising ? fmt::format("optim.lr is {:g}", schedule.lr)
             : fmt::format("optim.end_lr is {:g}", schedule.end_lr));
  return remark;
}

std::optional<ClosingRemark> diverged(const RunConfig& config, const std::string& metrics) {
  const RunHistory history = read_history(metrics);
  std::int64_t own = 0;  // where a fork begins to be itself
  for (const EventRecord& e : history.events) {
    if (e.event == "fork") own = e.step;
  }
  const auto begin = std::find_if(history.steps.begin(), history.steps.end(),
                                  [&](const StepRecord& s) { return s.step > own; });
  const std::optional<Divergence> d =
      find_divergence({begin, history.steps.end()}, config.model.vocab_size,
                      own > 0 ? 0 : config.optim.warmup_steps);
  if (!d) return std::nullopt;
  ClosingRemark remark;
  remark.event.event = "diverged";
  remark.event.fields = {{"loss", d->loss},
                         {"uniform_guess", d->uniform_guess},
                         {"best", d->best},
                         {"best_step", d->best_step},
                         {"steps", d->steps}};
  remark.sentence = d->sentence();
  return remark;
}

}  // namespace

std::vector<ClosingRemark> closing_remarks(const RunConfig& config, const ScheduleConfig& schedule,
                                           std::int64_t step, bool minutes_ended,
                                           const std::string& metrics) {
  std::vector<ClosingRemark> remarks;
  if (minutes_ended) {
    if (auto remark = undecayed(config, schedule, step)) remarks.push_back(std::move(*remark));
  }
  if (auto remark = diverged(config, metrics)) remarks.push_back(std::move(*remark));
  for (ClosingRemark& remark : remarks) remark.event.fields["reason"] = remark.sentence;
  return remarks;
}

std::string how_to_go_on(const RunConfig& config, std::int64_t step) {
  RunConfig by_tokens = config;
  by_tokens.train.steps = 0;
  const std::int64_t token_steps = planned_steps(by_tokens);
  std::string keys;
  const auto add = [&](const char* key, const nlohmann::json& value) {
    keys += fmt::format("{}{} ({})", keys.empty() ? "" : " and ", key, yaml_text(value));
  };
  if (config.train.steps > 0 && step >= config.train.steps) {
    add("train.steps", config.train.steps);
  }
  if (token_steps > 0 && step >= token_steps) add("train.tokens", config.train.tokens);
  const bool planned = !keys.empty();
  if (!planned) add("train.minutes", config.train.minutes);
  std::string out = "to train on, raise " + keys;
  if (planned && config.optim.decay_share > 0.0) {
    out += " and add --fork NEW_RUN, since the learning rate's decay was planned by it";
  }
  return out;
}

}  // namespace shoal

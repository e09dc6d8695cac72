#include "train/run/plan_remarks.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

#include "train/config/batch_sizes.h"

namespace shoal {
namespace {

void add_rate(const RunConfig& c, std::int64_t steps, std::vector<Remark>& remarks) {
  const std::int64_t warmup = c.optim.warmup_steps;
  const bool decays = c.optim.decay_share > 0.0 && c.optim.end_lr != c.optim.lr;
  if (steps == 0) {
    if (!decays) return;
    remarks.push_back({false,
                       "train.minutes alone ends the run, so the learning rate stays at optim.lr "
                       "after warm-up; its decay needs train.steps or train.tokens"});
    return;
  }
  if (warmup > steps) {
    remarks.push_back(
        {true, fmt::format("optim.warmup_steps: {} are more than the run's {} steps: the learning "
                           "rate never reaches optim.lr {:g}, but {:.3g}",
                           warmup, steps, c.optim.lr,
                           c.optim.lr * static_cast<double>(steps) / static_cast<double>(warmup))});
  } else if (warmup == steps && warmup > 0) {
    remarks.push_back(
        {true, fmt::format("optim.warmup_steps: all {} steps of the run: the learning "
                           "rate reaches optim.lr in the last one and never decays",
                           steps)});
  } else if (decays) {
    const auto wanted = std::llround(c.optim.decay_share * static_cast<double>(steps));
    if (wanted > steps - warmup && c.optim.decay_share < 1.0) {
      remarks.push_back(
          {true, fmt::format("optim.warmup_steps: {} leave {} of {} steps to the decay, which "
                             "optim.decay_share {:g} would give {}",
                             warmup, steps - warmup, steps, c.optim.decay_share, wanted)});
    }
  }
}

void add_never(const RunConfig& c, std::int64_t steps, std::vector<Remark>& remarks) {
  std::string keys;
  const auto look = [&](const char* key, std::int64_t every) {
    if (every > steps) keys += fmt::format("{}{} {}", keys.empty() ? "" : ", ", key, every);
  };
  look("train.eval_every", c.train.eval_every);
  look("checkpoint.every_steps", c.checkpoint.every_steps);
  if (!keys.empty()) {
    remarks.push_back({false, fmt::format("{}: beyond the run's {} steps; it happens at the end "
                                          "alone",
                                          keys, steps)});
  }
  if (c.log.every > steps) {
    remarks.push_back(
        {false, fmt::format("log.every {}: beyond the run's {} steps; no `layer` line "
                            "will be recorded",
                            c.log.every, steps)});
  }
}

// What was set for a decay that does not come; the defaults are no wish.
void add_without_decay(const RunConfig& c, std::int64_t steps, std::vector<Remark>& remarks) {
  if (steps > 0 && c.optim.decay_share > 0.0 && c.optim.warmup_steps < steps) return;
  const RunConfig defaults;
  std::string keys;
  if (c.optim.end_lr != defaults.optim.end_lr && c.optim.end_lr != c.optim.lr) {
    keys = "optim.end_lr";
  }
  if (c.loss.mtp_late != defaults.loss.mtp_late && c.loss.mtp_late != c.loss.mtp &&
      c.model.num_nextn_predict_layers > 0) {
    keys += keys.empty() ? "loss.mtp_late" : ", loss.mtp_late";
  }
  if (!keys.empty()) {
    remarks.push_back({false, keys + ": without effect, since the learning rate does not decay"});
  }
}

// A compressed entry shows a whole block of tokens, once that is complete: until then its tokens
// are seen through the window alone.
void add_hidden_tokens(const RunConfig& c, std::vector<Remark>& remarks) {
  std::int64_t rate = 0;
  for (const AttentionKind kind : c.model.layer_types) {
    rate = std::max(rate, c.model.compress_rate(kind));
  }
  const std::int64_t window = c.model.sliding_window;
  if (window >= rate) return;
  remarks.push_back(
      {true, fmt::format("model.sliding_window: {} is shorter than the largest compression rate, "
                         "{}: up to {} tokens before a position are shown by no entry yet and by "
                         "the window no more",
                         window, rate, rate - window)});
}

void add_spikes(const RunConfig& c, std::int64_t steps, std::vector<Remark>& remarks) {
  const SpikeConfig& spike = c.stability.spike;
  if (spike.action == SpikeAction::kOff || spike.warmup < steps || steps == 0) return;
  remarks.push_back(
      {true, fmt::format("stability.spike.warmup: {} leave nothing of the run's {} steps to watch; "
                         "only what is not finite is found",
                         spike.warmup, steps)});
}

}  // namespace

std::vector<Remark> plan_remarks(const RunConfig& c) {
  std::vector<Remark> remarks;
  const std::int64_t steps = planned_steps(c);
  add_rate(c, steps, remarks);
  add_without_decay(c, steps, remarks);
  const IndexerSpec& last = c.indexer.modes.back();
  if (steps > 0 && last.from_step >= steps) {
    remarks.push_back({true, fmt::format("indexer.stage: {} from step {} is never reached: the run "
                                         "ends after {} steps",
                                         name_of(last.mode), last.from_step, steps)});
  }
  if (steps > 0) add_never(c, steps, remarks);
  add_hidden_tokens(c, remarks);
  add_spikes(c, steps, remarks);
  const bool validates = c.data.validation_share > 0.0 || !c.data.validation_files.empty();
  if (!validates && c.train.eval_every > 0 && c.train.sample_prompts.empty()) {
    remarks.push_back({false,
                       "data.validation: 0 leaves nothing to evaluate on: train.eval_every does "
                       "nothing"});
  }
  return remarks;
}

}  // namespace shoal

#pragma once
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/config/run_config.h"

namespace shoal {

// Holt's linear method over a noisy series x_1, x_2 ... (spec 9):
//   prediction = level + trend,  r = x - prediction,  z = r / max(sigma, floor)
//   level'  = prediction + g r              g = max(1 - 0.97, 1 / n): at first a plain mean
//   trend'  = 0.9 trend + 0.1 (level' - level)
//   sigma'^2 = sigma^2 + g (r^2 - sigma^2)
// Without the trend a falling series would lag behind its level, and the lag would pass for noise.
struct HoltSeries {
  static constexpr double kDecay = 0.97, kTrendDecay = 0.9;

  double floor = 0.0;  // sigma counts as that at least
  double level = 0.0, trend = 0.0, variance = 0.0;
  std::int64_t count = 0;  // values that entered

  double prediction() const { return level + trend; }
  double sigma() const { return std::max(std::sqrt(variance), floor); }
  double score(double x) const { return (x - prediction()) / sigma(); }
  void enter(double x);
};

// What one step looked like.
struct SpikeVerdict {
  std::int64_t step = 0;  // as a `step` record would count it
  bool finite = true;
  bool suspect = false;    // a score is above `onset`
  bool spike = false;      // or above `threshold`; or not finite
  bool alarm = false;      // a spike that is to be answered: not within the cool-down
  std::int64_t onset = 0;  // of a spike: the first of the suspect steps that end with this one
  double ce = 0.0, grad_norm = 0.0;
  double ce_score = 0.0, norm_score = 0.0;  // z; 0 during warm-up and where not finite

  double score() const { return std::max(ce_score, norm_score); }
  const char* signal() const {  // what is spoken of
    return !finite ? "not finite" : ce_score >= norm_score ? "loss" : "grad_norm";
  }
};

// Finds spikes of a run in its cross-entropy (which loss weights that change with the schedule do
// not move) and in the logarithm of its gradient norm, before clipping. Only what lies above the
// prediction counts.
//
// A suspect or not finite step enters no statistics. Where `lookback` steps in a row are suspect
// that is how the run is now: the detector learns it anew, warm-up included. After an alarm that
// was answered by a report or a skip there is none for `cooldown` steps; not finite is one always.
class SpikeDetector {
 public:
  explicit SpikeDetector(const SpikeConfig& config) : config_(config) {}

  // Changes nothing: the step may still be given up.
  SpikeVerdict judge(std::int64_t step, double loss, double ce, double grad_norm) const;
  double predicted(const SpikeVerdict& verdict) const;  // of what it speaks of, as it is measured

  void accept(const SpikeVerdict& verdict);    // the step was done, its update made
  void answered(const SpikeVerdict& verdict);  // the cool-down begins
  void restart();  // what is measured is another thing from here on; the cool-down stays

  // Its windows, counts and cool-down under /state/spike/, empty in older checkpoints.
  template <class State>
  void add_to(State& state) {
    for (auto& [name, series] : {std::pair{"loss", &loss_}, std::pair{"grad_norm", &norm_}}) {
      const std::string path = std::string("/state/spike/") + name;
      state.add_number(path + "/level", series->level, std::optional(0.0));
      state.add_number(path + "/trend", series->trend, std::optional(0.0));
      state.add_number(path + "/variance", series->variance, std::optional(0.0));
      state.add_number(path + "/count", series->count, std::optional<std::int64_t>(0));
    }
    state.add_list("/state/spike/recent", recent_, std::optional(std::vector<double>()));
    state.add_number("/state/spike/held", held_, std::optional<std::int64_t>(0));
    state.add_number("/state/spike/quiet_until", quiet_until_, std::optional<std::int64_t>(0));
  }

 private:
  // Of the loss, in nats. Of the norm's logarithm, whose noise has a long tail upwards in healthy
  // runs of small batches: at a threshold of 6 a norm of less than e^1.2 = 3.3 times the expected
  // one is no spike.
  static constexpr HoltSeries kLoss{.floor = 1e-3}, kNorm{.floor = 0.2};

  SpikeConfig config_;
  HoltSeries loss_ = kLoss, norm_ = kNorm;
  std::vector<double> recent_;    // scores of the last steps, at most `lookback`, oldest first
  std::int64_t held_ = 0;         // suspect steps in a row
  std::int64_t quiet_until_ = 0;  // the last step of the cool-down
};

}  // namespace shoal

#include "train/stability/spike_detector.h"

#include <algorithm>

namespace shoal {

void HoltSeries::enter(double x) {
  ++count;
  if (count == 1) {
    level = x;
    return;
  }
  const double gain = std::max(1.0 - kDecay, 1.0 / static_cast<double>(count));
  const double before = level, residual = x - prediction();
  level = prediction() + gain * residual;
  trend = kTrendDecay * trend + (1.0 - kTrendDecay) * (level - before);
  variance += gain * (residual * residual - variance);
}

namespace {

// A gradient of exactly zero has no logarithm; it is no spike either.
double log_norm(double norm) { return std::log(std::max(norm, 1e-30)); }

}  // namespace

SpikeVerdict SpikeDetector::judge(std::int64_t step, double loss, double ce,
                                  double grad_norm) const {
  SpikeVerdict v;
  v.step = step;
  v.ce = ce;
  v.grad_norm = grad_norm;
  v.finite = std::isfinite(loss) && std::isfinite(ce) && std::isfinite(grad_norm);
  if (v.finite && loss_.count >= config_.warmup) {
    v.ce_score = loss_.score(ce);
    v.norm_score = norm_.score(log_norm(grad_norm));
  }
  v.suspect = !v.finite || v.score() > config_.onset;
  v.spike = !v.finite || v.score() > config_.threshold;
  v.alarm = v.spike && (!v.finite || step > quiet_until_);
  if (!v.spike) return v;
  v.onset = step;
  const std::int64_t first = step - config_.lookback + 1;
  for (auto z = recent_.rbegin(); z != recent_.rend() && *z > config_.onset && v.onset > first;
       ++z) {
    --v.onset;
  }
  return v;
}

double SpikeDetector::predicted(const SpikeVerdict& verdict) const {
  return verdict.ce_score >= verdict.norm_score ? loss_.prediction() : std::exp(norm_.prediction());
}

void SpikeDetector::accept(const SpikeVerdict& v) {
  recent_.push_back(v.score());
  const auto most = static_cast<std::size_t>(config_.lookback);
  if (recent_.size() > most) {
    recent_.erase(recent_.begin(), recent_.end() - static_cast<std::ptrdiff_t>(most));
  }
  if (!v.finite) return;
  if (v.suspect) {
    if (++held_ < config_.lookback) return;
    restart();
  }
  held_ = 0;
  loss_.enter(v.ce);
  norm_.enter(log_norm(v.grad_norm));
}

void SpikeDetector::answered(const SpikeVerdict& verdict) {
  quiet_until_ = verdict.step + config_.cooldown;
}

void SpikeDetector::restart() {
  loss_ = kLoss;
  norm_ = kNorm;
  recent_.clear();
  held_ = 0;
}

}  // namespace shoal

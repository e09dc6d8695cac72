#include "train/generate/token_sampler.h"

#include <algorithm>
#include <cmath>

namespace shoal {

const TokenSampler::Candidate& TokenSampler::likeliest(std::size_t i) {
  if (i >= sorted_) {
    const auto at = [&](std::size_t n) {
      return candidates_.begin() + static_cast<std::ptrdiff_t>(n);
    };
    const std::size_t end = std::min(candidates_.size(), std::max<std::size_t>(64, 4 * i));
    std::partial_sort(at(sorted_), at(end), candidates_.end(),
                      [](const Candidate& a, const Candidate& b) {
                        return a.p > b.p || (a.p == b.p && a.token < b.token);
                      });
    sorted_ = end;
  }
  return candidates_[i];
}

std::int32_t TokenSampler::draw(std::span<const float> logits, double u) {
  std::int32_t best = 0;
  for (std::size_t v = 0; v < logits.size(); ++v) {
    const float most = logits[static_cast<std::size_t>(best)];
    if (logits[v] > most || std::isnan(most)) best = static_cast<std::int32_t>(v);
  }
  if (how_.temperature <= 0.0) return best;
  candidates_.clear();
  sorted_ = 0;
  double total = 0.0;
  for (std::size_t v = 0; v < logits.size(); ++v) {
    const double most = logits[static_cast<std::size_t>(best)];
    const double p = std::exp((static_cast<double>(logits[v]) - most) / how_.temperature);
    candidates_.push_back({p > 0.0 ? p : 0.0, static_cast<std::int32_t>(v)});
    total += candidates_.back().p;
  }
  std::size_t count = candidates_.size();
  if (how_.top_k > 0 && static_cast<std::size_t>(how_.top_k) < count) {
    count = static_cast<std::size_t>(how_.top_k);
    total = 0.0;
    for (std::size_t i = 0; i < count; ++i) total += likeliest(i).p;
  }
  if (how_.top_p < 1.0) {
    double kept = 0.0;
    std::size_t i = 0;
    while (i < count && (i == 0 || kept < how_.top_p * total)) kept += likeliest(i++).p;
    count = i;
    total = kept;
  }
  double left = u * total;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    left -= likeliest(i).p;
    if (left < 0.0) return likeliest(i).token;
  }
  return likeliest(count - 1).token;
}

}  // namespace shoal

#include "train/run/divergence.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace shoal {
namespace {

constexpr std::size_t kShortestEnd = 20;

double median_ce(std::span<const StepRecord> steps) {
  std::vector<double> values;
  for (const StepRecord& s : steps) values.push_back(s.ce);
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::optional<Divergence> find_divergence(std::span<const StepRecord> steps,
                                          std::int64_t vocab_size, std::int64_t warmup_steps) {
  const std::size_t n = steps.size();
  if (n < 2) return std::nullopt;
  const std::size_t end = std::max(n / 10, std::min(kShortestEnd, n / 2));
  const bool enough = n >= 2 * kShortestEnd;
  const std::span<const StepRecord> last = steps.last(end);

  Divergence d;
  d.uniform_guess = std::log(static_cast<double>(vocab_size));
  d.steps = static_cast<std::int64_t>(end);
  d.loss = median_ce(last);
  d.best = d.loss;
  d.best_step = steps.back().step;
  // Stretches side by side, from the end back; the first one may be shorter.
  for (std::size_t stop = n - end; stop > 0;) {
    const std::size_t length = std::min(end, stop);
    const std::span<const StepRecord> stretch = steps.subspan(stop - length, length);
    if (const double median = median_ce(stretch); median < d.best) {
      d.best = median;
      d.best_step = stretch.back().step;
    }
    stop -= length;
  }

  const double guess = d.uniform_guess;
  const bool blew_up = std::any_of(steps.begin(), steps.end(),
                                   [&](const StepRecord& s) { return s.ce >= 2.0 * guess; });
  const bool should_know_better = (enough && last.front().step > warmup_steps) || blew_up;
  const bool guesses = should_know_better && d.loss >= 0.999 * guess;
  const bool lost = enough && d.loss >= d.best + std::max(0.25 * (guess - d.best), 0.1 * guess);
  return guesses || lost ? std::optional(d) : std::nullopt;
}

std::string Divergence::sentence() const {
  std::string what = fmt::format("the loss of its last {} steps is {:.4g}", steps, loss);
  if (loss >= 0.999 * uniform_guess) {
    what += fmt::format(", no better than a uniform guess ({:.4g})", uniform_guess);
  }
  if (best < 0.999 * uniform_guess) {
    what += fmt::format(", far above its best ({:.4g} at step {})", best, best_step);
  }
  return "it has diverged: " + what + "; lower optim.lr, or clip (optim.clip), or warm up longer";
}

}  // namespace shoal

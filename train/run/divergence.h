#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "train/metrics/records.h"

namespace shoal {

// Has a run lost what it had learned, or never learned anything? Judged at its end, by medians of
// the cross-entropy, which single batches do not move.
//
// The end is the last tenth of the steps, but at least 20; of fewer than 40 steps the second half.
// A uniform guess over the vocabulary costs ln V. The run has diverged if at its end the loss is
//   no better than a guess: at least 0.999 ln V (a model whose activations have died guesses
//     evenly, to rounding). Every run begins there, so this counts only once it should be behind
//     the run: the end lies after warm-up and there are 40 steps, or some step cost 2 ln V, which
//     no beginning does;
//   or far above its best: the best is the lowest median of stretches as long as the end, and the
//     loss has given back a quarter of what was gained since ln V, and a tenth of ln V at least.
//     That takes 40 steps.
struct Divergence {
  double loss = 0.0;           // median at the end
  double uniform_guess = 0.0;  // ln V
  double best = 0.0;           // lowest median of a stretch
  std::int64_t best_step = 0;  // the last step of that stretch
  std::int64_t steps = 0;      // length of the end

  std::string sentence() const;
};

// `steps` in order. Of a fork only its own: another text or length has another loss.
std::optional<Divergence> find_divergence(std::span<const StepRecord> steps,
                                          std::int64_t vocab_size, std::int64_t warmup_steps);

}  // namespace shoal

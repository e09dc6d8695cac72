#pragma once
#include "layers/objective/objective.h"

namespace shoal {

// Pre-training (spec 6, 5.4, 3.2): cross-entropy of the next token, MTP's of the one after it, the
// experts' balance and the indexers' loss. While the indexers warm up the others are said, but
// teach nothing.
class NextToken final : public Objective {
 public:
  Loss loss(Tape& tape, Model& model, Hidden& hidden, const LossWeights& weights,
            const StepCounts& of_step) const override;
};

}  // namespace shoal

#pragma once
#include <memory>
#include <string>

#include "train/parity/parity_compare.h"

namespace shoal {

// A parity case and how this program did on it.
struct ParityRun {
  std::unique_ptr<ParityCase> want;
  std::unique_ptr<ParityComparison> comparison;
};

// Loads the case, builds its model, and compares all that the case holds: logits, streams, loss
// parts, gradients, and ten training steps of AdamW and of Muon, by the same code that trains.
ParityRun run_parity(const std::string& folder);

}  // namespace shoal

#pragma once
#include "train/plan/run_plan.h"

namespace shoal::testing {

inline StepPlan step_plan(const LossWeights& loss = {}, std::int64_t number = 1, double lr = 1e-3,
                          IndexerMode indexer = IndexerMode::kSparse) {
  return {number, lr, loss, indexer};
}

}  // namespace shoal::testing

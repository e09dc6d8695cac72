#include "layers/objective/objective.h"

namespace shoal {

StepCounts count(std::span<const Batch> batches) {
  StepCounts counts;
  for (const Batch& batch : batches) {
    counts.sequences += batch.B;
    for (std::int64_t n = 0; n < batch.rows(); ++n) {
      counts.rows += batch.is_padding(n) ? 0 : 1;
      counts.targets += batch.targets[static_cast<std::size_t>(n)] >= 0 ? 1 : 0;
      counts.mtp_targets += batch.second_target(n) >= 0 ? 1 : 0;
    }
  }
  return counts;
}

LossParts factors_of(const LossWeights& weights, const StepCounts& counts) {
  const auto share = [](double weight, std::int64_t n) {
    return n > 0 ? weight / static_cast<double>(n) : 0.0;
  };
  return {share(1.0, counts.targets), share(weights.mtp.value_or(0.0), counts.mtp_targets),
          share(weights.balance, counts.sequences), share(weights.index_kl, counts.rows)};
}

}  // namespace shoal

#include "train/step/index_recall.h"

#include <algorithm>
#include <limits>

namespace shoal {
namespace {

// Both lists rise, -1 fills them up.
double overlap(const Block::Result& block, const BatchTensors& batch) {
  const std::int64_t k = block.chosen.shape.cols();
  std::int64_t shared = 0, slots = 0;
  for (std::int64_t n = 0; n < block.chosen.shape.rows(); ++n) {
    if (batch.sparse.count.as<std::int32_t>()[n] <= k || batch.valid.as<std::int32_t>()[n] == 0) {
      continue;
    }
    const auto *a = block.chosen.as<std::int32_t>() + n * k,
               *b = block.exact.as<std::int32_t>() + n * k;
    for (std::int64_t i = 0, j = 0; i < k && j < k;) {
      shared += a[i] == b[j] ? 1 : 0;
      const bool next_a = a[i] <= b[j], next_b = b[j] <= a[i];
      i += next_a ? 1 : 0;
      j += next_b ? 1 : 0;
    }
    slots += k;
  }
  if (slots == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(shared) / static_cast<double>(slots);
}

}  // namespace

std::vector<double> index_recall(Model& model, Tape& tape, const Batch& batch) {
  const NoGrad off(tape);
  const Hidden hidden =
      model.forward(tape, batch, {.indexer = {.mode = IndexerMode::kSparse, .compares = true}});
  std::vector<double> recalls;
  for (const Block::Result& block : hidden.blocks) {
    recalls.push_back(block.exact ? overlap(block, *hidden.input.batch)
                                  : std::numeric_limits<double>::quiet_NaN());
  }
  tape.end_microbatch();
  return recalls;
}

}  // namespace shoal

#include "train/stability/faults.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/base/rng.h"

namespace shoal {

void shuffle_targets(std::span<Batch> batches, std::uint64_t seed, std::int64_t step) {
  const Rng rng(seed, Purpose::kFault, static_cast<std::uint64_t>(step));
  std::uint64_t draw = 0;
  for (Batch& batch : batches) {
    std::vector<std::int32_t*> counted;
    for (std::int32_t& target : batch.targets) {
      if (target >= 0) counted.push_back(&target);
    }
    for (std::size_t i = counted.size(); i > 1; --i) {
      std::swap(*counted[i - 1], *counted[rng.below(draw++, i)]);
    }
  }
}

ShockedExpert shock_expert(Model& model, const ModelStats& stats, double factor) {
  const std::vector<const Block*> blocks = model.all_blocks();
  std::vector<std::size_t> layers;
  for (std::size_t l = 0; l < blocks.size(); ++l) {
    if (blocks[l] != model.mtp_block() && !stats[l].load.empty()) layers.push_back(l);
  }
  CHECK(!layers.empty(), "expert shock: no layer has experts");
  const std::size_t layer = layers[layers.size() / 2];
  const std::vector<std::int64_t>& load = stats[layer].load;
  const auto expert = std::max_element(load.begin(), load.end()) - load.begin();
  for (ModelParam* p : blocks[layer]->feed_forward().routed_weights()) {
    const std::int64_t each = p->value.shape.numel() / static_cast<std::int64_t>(load.size());
    float* w = p->value.as<float>() + expert * each;
    for (std::int64_t i = 0; i < each; ++i) w[i] *= static_cast<float>(factor);
  }
  return {static_cast<std::int64_t>(layer), expert};
}

}  // namespace shoal

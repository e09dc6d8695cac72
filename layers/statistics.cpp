#include "layers/statistics.h"

#include <algorithm>

namespace shoal {

ModelStats make_stats(const Model& model) {
  ModelStats stats;
  for (const Block* block : model.all_blocks()) {
    const Routes shapes = block->feed_forward().shapes_of_routes(0);
    const std::int64_t E = shapes.load.shape.rank == 0 ? 0 : shapes.load.shape.numel();
    stats.emplace_back();
    stats.back().load.resize(static_cast<std::size_t>(E));
  }
  return stats;
}

void clear(ModelStats& stats) {
  for (BlockStats& s : stats) {
    std::fill(s.load.begin(), s.load.end(), 0);
    s.clamped = {};
    s.index = {};
  }
}

void add(ModelStats& stats, const Hidden& hidden) {
  for (std::size_t l = 0; l < stats.size(); ++l) {
    const Block::Result& block = hidden.blocks[l];
    BlockStats& to = stats[l];
    if (!block.X) continue;  // it did not run
    for (std::size_t e = 0; e < to.load.size(); ++e) {
      to.load[e] += block.routes.load.as<std::int64_t>()[e];
    }
    to.clamped += clamp_count(block.routes.clamped);
    if (block.index_loss.kl) {
      to.index = {*block.index_loss.kl.as<float>(), *block.index_loss.uniform.as<float>()};
    }
  }
}

}  // namespace shoal

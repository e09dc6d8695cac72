#include "train/step/gradient_tree.h"

#include <algorithm>

#include "autograd/base/parallel.h"
#include "autograd/base/trace.h"

namespace shoal {

std::int64_t GradientTree::levels(std::int64_t micro_batches) {
  std::int64_t levels = 1;
  for (std::int64_t n = micro_batches; n > 1; n = (n + 1) / 2) ++levels;
  return levels;
}

GradientTree::GradientTree(ParamStore& store, std::int64_t micro_batches)
    : store_(store),
      most_(micro_batches),
      micro_batches_(micro_batches),
      pages_(static_cast<std::size_t>(buffers(micro_batches) * store.flat_size()) * sizeof(float)) {
  CHECK(micro_batches >= 1, "GradientTree: no micro-batch");
  store_.bind_grads(level(0).data());
}

void GradientTree::set_micro_batches(std::int64_t micro_batches) {
  CHECK(micro_batches >= 1 && micro_batches <= most_, "GradientTree: ", micro_batches,
        " micro-batches, made for ", most_);
  micro_batches_ = micro_batches;
}

std::span<float> GradientTree::level(std::int64_t depth) const {
  return {reinterpret_cast<float*>(pages_.data()) + depth * store_.flat_size(),
          static_cast<std::size_t>(store_.flat_size())};
}

bool GradientTree::accumulate(const std::function<bool(std::int64_t)>& run) {
  return sum(0, micro_batches_, 0, run);
}

bool GradientTree::sum(std::int64_t lo, std::int64_t hi, std::int64_t depth,
                       const std::function<bool(std::int64_t)>& run) {
  if (hi - lo == 1) {
    store_.bind_grads(level(depth).data());
    if (!run(lo)) return false;
    for (const ModelParam& p : store_.params()) {
      if (p.grad_written) continue;  // else nothing reached it: its gradient is zero
      for_chunks(p.grad.shape.numel(), [&](Range r) {
        std::fill(p.grad.as<float>() + r.begin, p.grad.as<float>() + r.end, 0.0F);
      });
    }
    return true;
  }
  const std::int64_t mid = lo + (hi - lo + 1) / 2;
  if (!sum(lo, mid, depth, run) || !sum(mid, hi, depth + 1, run)) return false;
  const TraceSpan span("gradient_tree");
  const std::span<float> left = level(depth), right = level(depth + 1);
  for_chunks(store_.flat_size(), [&](Range r) {
    float* to = left.data();
    const float* from = right.data();
#pragma omp simd
    for (std::int64_t i = r.begin; i < r.end; ++i) to[i] += from[i];
  });
  return true;
}

}  // namespace shoal

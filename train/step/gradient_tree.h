#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "autograd/base/memory.h"
#include "layers/params.h"

namespace shoal {

// Adds the gradients of a step's micro-batches in one fixed binary tree over their global number:
//   sum(lo, hi) = sum(lo, mid) + sum(mid, hi),   mid = lo + ceil((hi - lo) / 2),
// so that processes that each own a subtree get the same bits as one that owns all. A level of the
// tree needs a buffer of its own: ceil(log2(n)) + 1 of them.
class GradientTree {
 public:
  GradientTree(ParamStore& store, std::int64_t micro_batches);

  // Of the steps from now on: at most as many as it was made for.
  void set_micro_batches(std::int64_t micro_batches);

  // run(i) does forward and backward of micro-batch i into the bound gradients; afterwards the sum
  // over 0 .. micro_batches-1 lies in gradients(). run returns false to give the step up.
  bool accumulate(const std::function<bool(std::int64_t)>& run);
  std::span<float> gradients() const { return level(0); }
  // A buffer of the same size that nobody needs between two calls of accumulate().
  std::span<float> spare() const { return level(1); }
  std::size_t bytes() const { return pages_.size(); }
  static std::int64_t levels(std::int64_t micro_batches);
  static std::int64_t buffers(std::int64_t micro_batches) {  // the spare one counts
    return std::max<std::int64_t>(2, levels(micro_batches));
  }

 private:
  bool sum(std::int64_t lo, std::int64_t hi, std::int64_t depth,
           const std::function<bool(std::int64_t)>& run);
  std::span<float> level(std::int64_t depth) const;

  ParamStore& store_;
  std::int64_t most_, micro_batches_;
  PageRange pages_;
};

// The same tree for numbers that each micro-batch yields.
template <class T>
T tree_sum(const std::vector<T>& values, std::size_t lo, std::size_t hi) {
  if (hi - lo == 1) return values[lo];
  const std::size_t mid = lo + (hi - lo + 1) / 2;
  return tree_sum(values, lo, mid) + tree_sum(values, mid, hi);
}

}  // namespace shoal

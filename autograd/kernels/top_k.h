#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "autograd/kernels/vec_math.h"

namespace shoal {

// The k largest of a stream of scores that comes in rising index; of equal ones the lower index.
// NaN counts as the smallest number.
class TopK {
 public:
  struct Candidate {
    float score;
    std::int32_t index;
  };
  // `memory`: 2 * k candidates.
  TopK(Candidate* memory, std::int64_t k) : candidates_(memory), k_(k) {}

  void add(const float* scores, std::int64_t n, std::int64_t first_index) {
    constexpr std::int64_t kBlock = 32;
    for (std::int64_t i = 0; i < n; i += kBlock) {
      const std::int64_t end = std::min(n, i + kBlock);
      if (full_ && !(row_max(scores + i, end - i) > threshold_)) continue;
      for (std::int64_t j = i; j < end; ++j) {
        const float score = std::isnan(scores[j]) ? -INFINITY : scores[j];
        // A later index has to beat the k-th score, not to equal it.
        if (full_ && !(score > threshold_)) continue;
        candidates_[size_++] = {score, static_cast<std::int32_t>(first_index + j)};
        if (size_ == 2 * k_) shrink();
      }
    }
  }
  // The chosen indices in rising order; returns how many.
  std::int64_t finish(std::int32_t* chosen) {
    if (size_ > k_) shrink();
    for (std::int64_t i = 0; i < size_; ++i) chosen[i] = candidates_[i].index;
    std::sort(chosen, chosen + size_);
    return size_;
  }

 private:
  void shrink() {
    std::nth_element(candidates_, candidates_ + k_ - 1, candidates_ + size_,
                     [](const Candidate& a, const Candidate& b) {
                       return a.score > b.score || (a.score == b.score && a.index < b.index);
                     });
    size_ = k_;
    threshold_ = candidates_[k_ - 1].score;
    full_ = true;
  }

  Candidate* candidates_;
  std::int64_t k_, size_ = 0;
  float threshold_ = 0.0F;
  bool full_ = false;
};

}  // namespace shoal

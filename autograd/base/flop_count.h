#pragma once

namespace shoal {

// While one lives, the ops that run on this thread report the floating-point operations of the
// matrix products that their formulas need, 2 per multiply-add: each where it computes them,
// forward and backward. Pairs of a query and a key count where the query looks at the key, rows of
// the head where they have a target; what an op computes a second time to save memory does not
// count. Rows of padding do, of which an op knows nothing, and blocks that recompute() runs again.
// Works in dry runs too.
class FlopCount {
 public:
  FlopCount() : outer_(innermost_) { innermost_ = this; }
  ~FlopCount() { innermost_ = outer_; }
  FlopCount(const FlopCount&) = delete;
  FlopCount& operator=(const FlopCount&) = delete;

  double flops() const { return flops_; }
  static bool is_on() { return innermost_ != nullptr; }
  template <class... Numbers>
  static void add_products(double count, Numbers... sizes) {
    if (is_on()) innermost_->flops_ += 2.0 * count * (1.0 * ... * static_cast<double>(sizes));
  }

 private:
  inline static thread_local FlopCount* innermost_ = nullptr;
  FlopCount* outer_;
  double flops_ = 0.0;
};

}  // namespace shoal

#pragma once
#include <cstdint>
#include <vector>

#include "autograd/kernels/index_fp4.h"
#include "autograd/tensor.h"

namespace shoal {

// An indexer's keys of one sequence in FP4, appended at the end: 68 bytes for a key of 128.
class KeyStore {
 public:
  explicit KeyStore(std::int64_t width) { keys_.D = width; }

  void reserve(std::int64_t keys);
  void append(const Tensor& keys);  // [n, width]

  PackedKeys keys();
  std::int64_t count() const { return count_; }
  std::size_t bytes() const;  // of the keys it holds

 private:
  PackedKeys keys_;
  std::int64_t count_ = 0;
  std::vector<std::uint8_t> codes_, scales_;
};

}  // namespace shoal

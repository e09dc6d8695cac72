#pragma once
#include <cstdint>
#include <vector>

#include "autograd/kernels/rotate.h"
#include "layers/config.h"

namespace shoal {

// w_i of spec 2.3, i = 0 .. pairs-1: theta^{-2i/r}, r = 2 pairs, with YaRN's interpolation where
// the configuration asks for it. There is no magnitude factor.
std::vector<double> rope_frequencies(const RopeConfig& rope, std::int64_t pairs);

// Cosines and sines for the positions 0 .. positions-1, in the layout of kernels/rope.h.
class RopeTableStorage {
 public:
  RopeTableStorage(const RopeConfig& rope, std::int64_t pairs);
  void grow(std::int64_t positions);  // computes what is missing
  RopeTable table() const;

 private:
  std::vector<double> frequencies_;
  std::vector<float> cos_sin_;
  std::int64_t pairs_, positions_ = 0;
};

}  // namespace shoal

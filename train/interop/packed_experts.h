#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "layers/model.h"
#include "train/interop/model_weights.h"

namespace shoal {

// Routed experts' weights as DeepSeek publishes them in FP4 (kernels/fp4.h): for a matrix [O, K]
//   NAME.weight  I8       [O, K / 2]   two codes a byte, the earlier value in the low four bits
//   NAME.scale   F8_E8M0  [O, K / 32]  127 + log2 of a block's scale
// both rounded up.
struct PackedExpert {
  std::vector<std::int64_t> code_shape, scale_shape;
  std::vector<std::uint8_t> codes, scales;
};
PackedExpert pack_expert(const float* weight, const Shape& shape);

std::string scale_name_of(const std::string& weight_name);
// Names of the tensors that may be packed: every matrix of a routed expert.
std::set<std::string> packable_names(const Model& model);
inline bool is_packed(const ModelWeights::Part& part) {
  return part.dtype == "I8" || part.dtype == "U8";
}

// What is wrong with a packed tensor and its scales for a matrix of that shape; empty: nothing.
std::string packed_problem(const ModelWeights& weights, const std::string& name,
                           const Shape& shape);
// The matrix. Error(kData) where scales give numbers that are not finite.
std::vector<float> read_packed(const ModelWeights& weights, const std::string& name,
                               const Shape& shape);

}  // namespace shoal

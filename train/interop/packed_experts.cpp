#include "train/interop/packed_experts.h"

#include <cmath>

#include "autograd/base/check.h"
#include "autograd/kernels/fp4.h"
#include "train/checkpoint/state.h"

namespace shoal {

PackedExpert pack_expert(const float* weight, const Shape& shape) {
  const std::int64_t rows = shape.rows(), K = shape.cols();
  PackedExpert packed{{rows, fp4_code_bytes(K)}, {rows, fp4_scale_bytes(K)}, {}, {}};
  packed.codes.resize(static_cast<std::size_t>(rows * fp4_code_bytes(K)));
  packed.scales.resize(static_cast<std::size_t>(rows * fp4_scale_bytes(K)));
  fp4_pack(weight, rows, K, packed.codes.data(), packed.scales.data());
  return packed;
}

std::string scale_name_of(const std::string& weight_name) {
  constexpr std::string_view kWeight = "weight";
  return weight_name.substr(0, weight_name.size() - kWeight.size()) + "scale";
}

std::set<std::string> packable_names(const Model& model) {
  std::set<std::string> names;
  for (const ModelParam* p : model.rounded_experts().weights()) {
    for (const ParamPiece& piece : p->pieces) names.insert(piece.name);
  }
  return names;
}

std::string packed_problem(const ModelWeights& weights, const std::string& name,
                           const Shape& shape) {
  const std::int64_t rows = shape.rows(), K = shape.cols();
  const ModelWeights::Part& codes = weights.parts().at(name);
  const auto is = [](const std::vector<std::int64_t>& got, std::int64_t a, std::int64_t b) {
    return got == std::vector<std::int64_t>{a, b};
  };
  if (!is(codes.shape, rows, fp4_code_bytes(K))) {
    return concat(weights.place_of(codes), " is ", shape_text(codes.shape), " of packed FP4; ",
                  shape, " takes ", Shape{rows, fp4_code_bytes(K)});
  }
  const auto found = weights.parts().find(scale_name_of(name));
  if (found == weights.parts().end()) {
    return concat(weights.path(), ": tensor ", in_quotes(scale_name_of(name)),
                  ": missing; packed FP4 needs its scales");
  }
  const ModelWeights::Part& scales = found->second;
  if (scales.dtype != "F8_E8M0" && scales.dtype != "U8") {
    return concat(weights.place_of(scales), " has dtype ", scales.dtype,
                  "; scales of packed FP4 are F8_E8M0");
  }
  if (!is(scales.shape, rows, fp4_scale_bytes(K))) {
    return concat(weights.place_of(scales), " is ", shape_text(scales.shape),
                  "; expected a scale for each 32 values, ", Shape{rows, fp4_scale_bytes(K)});
  }
  return {};
}

std::vector<float> read_packed(const ModelWeights& weights, const std::string& name,
                               const Shape& shape) {
  const ModelWeights::Part& scale_part = weights.parts().at(scale_name_of(name));
  const std::vector<std::byte> codes = weights.read_bytes(weights.parts().at(name));
  const std::vector<std::byte> scales = weights.read_bytes(scale_part);
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  fp4_unpack(reinterpret_cast<const std::uint8_t*>(codes.data()),
             reinterpret_cast<const std::uint8_t*>(scales.data()), shape.rows(), shape.cols(),
             values.data());
  const std::int64_t K = shape.cols();
  for (std::int64_t i = 0; i < shape.numel(); ++i) {
    if (std::isfinite(values[static_cast<std::size_t>(i)])) continue;
    const std::int64_t block = i / K * fp4_scale_bytes(K) + i % K / kFp4Block;
    reject(Failure::kData, weights.place_of(scale_part), " has scale ",
           static_cast<int>(scales[static_cast<std::size_t>(block)]), " at ", block,
           ", out of range: a value is not finite; scales are 127 + log2, up to 252");
  }
  return values;
}

}  // namespace shoal

#pragma once

namespace shoal {

// What a pass computes from numbers of fewer bits, "quantization-aware": gradients go through to
// the numbers that were rounded (spec 8).
struct Precision {
  bool fp4_experts = false;  // routed experts' weights
  bool fp4_indexer = false;  // the indexers' queries and keys; their scores are chosen in bfloat16
  bool fp8_kv = false;       // raw and compressed entries without their rotary dimensions

  bool operator==(const Precision&) const = default;
};

}  // namespace shoal

#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace shoal {

// A published tensor inside a stored one, which may hold many: elements from `first` on.
struct PublishedPart {
  std::string name;  // DeepSeek's: layers.3.attn.wq_a.weight
  std::vector<std::int64_t> shape;
  std::int64_t first = 0;
};

// What a stored tensor holds, in DeepSeek's published names. Three ways to call a tensor are known:
//   DeepSeek's own            layers.0.attn.kv_norm.weight   head.weight
//   save_pretrained's         model.layers.0.attn.norm.weight   head.weight
//   transformers' modules'    model.layers.0.self_attn.kv_norm.weight   lm_head.weight
// The last one also keeps a layer's experts in two tensors, gate_up_proj [E, 2 F, C] (w1 over w3)
// and down_proj [E, C, F]. A name that is none of these comes back as it is.
// Error(kData), beginning with `where`, for experts of another shape.
std::vector<PublishedPart> published_parts(const std::string& stored,
                                           const std::vector<std::int64_t>& shape,
                                           const std::string& where);

}  // namespace shoal

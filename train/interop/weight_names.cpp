#include "train/interop/weight_names.h"

#include <algorithm>
#include <map>
#include <string_view>

#include "autograd/base/check.h"
#include "train/interop/safetensors_header.h"

namespace shoal {
namespace {

using Names = std::map<std::string_view, std::string_view>;

// Outside of the layers.
const Names& outer_names() {
  static const Names kNames = {
      {"embed_tokens.weight", "embed.weight"}, {"lm_head.weight", "head.weight"},
      {"hc_head.hc_fn", "hc_head_fn"},         {"hc_head.hc_base", "hc_head_base"},
      {"hc_head.hc_scale", "hc_head_scale"},
  };
  return kNames;
}

// Behind "layers.N.".
const Names& layer_names() {
  static const Names kNames = {
      {"input_layernorm.weight", "attn_norm.weight"},
      {"post_attention_layernorm.weight", "ffn_norm.weight"},
      {"attn_hc.fn", "hc_attn_fn"},
      {"attn_hc.base", "hc_attn_base"},
      {"attn_hc.scale", "hc_attn_scale"},
      {"ffn_hc.fn", "hc_ffn_fn"},
      {"ffn_hc.base", "hc_ffn_base"},
      {"ffn_hc.scale", "hc_ffn_scale"},
      // save_pretrained turns every kv_norm back into `norm`, also the one that never was one.
      {"attn.norm.weight", "attn.kv_norm.weight"},
      {"self_attn.q_a_proj.weight", "attn.wq_a.weight"},
      {"self_attn.q_a_norm.weight", "attn.q_norm.weight"},
      {"self_attn.q_b_proj.weight", "attn.wq_b.weight"},
      {"self_attn.kv_proj.weight", "attn.wkv.weight"},
      {"self_attn.kv_norm.weight", "attn.kv_norm.weight"},
      {"self_attn.o_a_proj.weight", "attn.wo_a.weight"},
      {"self_attn.o_b_proj.weight", "attn.wo_b.weight"},
      {"self_attn.sinks", "attn.attn_sink"},
      {"self_attn.compressor.kv_proj.weight", "attn.compressor.wkv.weight"},
      {"self_attn.compressor.gate_proj.weight", "attn.compressor.wgate.weight"},
      {"self_attn.compressor.kv_norm.weight", "attn.compressor.norm.weight"},
      {"self_attn.compressor.position_bias", "attn.compressor.ape"},
      {"self_attn.compressor.indexer.q_b_proj.weight", "attn.indexer.wq_b.weight"},
      {"self_attn.compressor.indexer.scorer.weights_proj.weight",
       "attn.indexer.weights_proj.weight"},
      {"self_attn.compressor.indexer.kv_proj.weight", "attn.indexer.compressor.wkv.weight"},
      {"self_attn.compressor.indexer.gate_proj.weight", "attn.indexer.compressor.wgate.weight"},
      {"self_attn.compressor.indexer.kv_norm.weight", "attn.indexer.compressor.norm.weight"},
      {"self_attn.compressor.indexer.position_bias", "attn.indexer.compressor.ape"},
      {"mlp.gate.weight", "ffn.gate.weight"},
      {"mlp.gate.e_score_correction_bias", "ffn.gate.bias"},
      {"mlp.gate.tid2eid", "ffn.gate.tid2eid"},
      {"mlp.shared_experts.gate_proj.weight", "ffn.shared_experts.w1.weight"},
      {"mlp.shared_experts.up_proj.weight", "ffn.shared_experts.w3.weight"},
      {"mlp.shared_experts.down_proj.weight", "ffn.shared_experts.w2.weight"},
  };
  return kNames;
}

std::string_view renamed(const Names& names, std::string_view name) {
  const auto found = names.find(name);
  return found == names.end() ? name : found->second;
}

// Length of "layers.N." at the front; 0: it is of no layer.
std::size_t layer_prefix(std::string_view name) {
  constexpr std::string_view kLayers = "layers.";
  if (!name.starts_with(kLayers)) return 0;
  const std::size_t dot = name.find('.', kLayers.size());
  return dot == name.npos ? 0 : dot + 1;
}

// The matrices `names` of every expert, one expert behind the other, each [rows, columns].
std::vector<PublishedPart> experts(const std::string& prefix, std::int64_t count,
                                   const std::vector<std::string>& names, std::int64_t rows,
                                   std::int64_t columns) {
  std::vector<PublishedPart> parts;
  std::int64_t first = 0;
  for (std::int64_t e = 0; e < count; ++e) {
    for (const std::string& name : names) {
      parts.push_back({concat(prefix, e, '.', name, ".weight"), {rows, columns}, first});
      first += rows * columns;
    }
  }
  return parts;
}

}  // namespace

std::vector<PublishedPart> published_parts(const std::string& stored,
                                           const std::vector<std::int64_t>& shape,
                                           const std::string& where) {
  std::string_view name = stored;
  if (name.starts_with("model.")) name.remove_prefix(6);
  const std::size_t prefix = layer_prefix(name);
  if (prefix == 0) return {{std::string(renamed(outer_names(), name)), shape, 0}};
  const std::string layer(name.substr(0, prefix));
  name.remove_prefix(prefix);
  const bool up = name == "mlp.experts.gate_up_proj";
  if (!up && name != "mlp.experts.down_proj") {
    return {{layer + std::string(renamed(layer_names(), name)), shape, 0}};
  }
  const bool fits = shape.size() == 3 && shape[0] > 0 && shape[1] > 0 && shape[2] > 0;
  if (!fits || (up && shape[1] % 2 != 0)) {
    std::string got;
    for (const std::int64_t d : shape) got += (got.empty() ? "" : ", ") + std::to_string(d);
    reject(Failure::kData, where, ": tensor ", in_quotes(stored), " is [", got, "]; expected ",
           up ? "[experts, 2 x their width, hidden_size]" : "[experts, hidden_size, their width]");
  }
  const std::string of_layer = layer + "ffn.experts.";
  return up ? experts(of_layer, shape[0], {"w1", "w3"}, shape[1] / 2, shape[2])
            : experts(of_layer, shape[0], {"w2"}, shape[1], shape[2]);
}

}  // namespace shoal

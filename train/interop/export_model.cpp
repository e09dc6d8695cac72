#include "train/interop/export_model.h"

#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "autograd/base/atomic_file.h"
#include "train/config/published/model_json.h"
#include "train/interop/new_folder.h"
#include "train/interop/packed_experts.h"
#include "train/interop/safetensors.h"
#include "train/interop/tokenizer_files.h"
#include "train/interop/weight_index.h"

namespace shoal {
namespace {

std::vector<std::int64_t> dims(const Shape& shape) {
  return {shape.dim.begin(), shape.dim.begin() + shape.rank};
}

// A model's tensors by name, where they lie; hash tables as the 64-bit integers that others expect.
class Tensors {
 public:
  Tensors(Model& model, bool fp4) {
    const std::set<std::string> packed = fp4 ? packable_names(model) : std::set<std::string>{};
    model.store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
      const float* values = p.value.as<float>() + piece.offset;
      if (packed.contains(piece.name)) return add_packed(piece, values);
      add({piece.name, "F32", dims(piece.shape), values});
    });
    for (const ModelBuffer& b : model.store().buffers()) {
      if (b.value.dtype == DType::kF32) {
        add({b.name, "F32", dims(b.value.shape), b.value.data});
      } else {
        const auto* ids = b.value.as<std::int32_t>();
        wide_.emplace_back(ids, ids + b.value.shape.numel());
        add({b.name, "I64", dims(b.value.shape), wide_.back().data()});
      }
    }
  }

  // Consecutive names to a file, as many as fit.
  std::vector<std::vector<TensorToWrite>> shards(std::uint64_t limit) const {
    std::vector<std::vector<TensorToWrite>> shards(1);
    std::uint64_t filled = 0;
    for (const auto& [name, tensor] : by_name_) {
      const std::uint64_t bytes = bytes_of(tensor);
      if (!shards.back().empty() && filled + bytes > limit) {
        shards.emplace_back();
        filled = 0;
      }
      shards.back().push_back(tensor);
      filled += bytes;
    }
    return shards;
  }

  static std::uint64_t bytes_of(const TensorToWrite& tensor) {
    const std::int64_t numel = std::accumulate(tensor.shape.begin(), tensor.shape.end(),
                                               std::int64_t{1}, std::multiplies<>());
    return static_cast<std::uint64_t>(numel * safetensors_dtype_bits(tensor.dtype) / 8);
  }

 private:
  void add(const TensorToWrite& tensor) { by_name_[tensor.name] = tensor; }
  void add_packed(const ParamPiece& piece, const float* values) {
    const PackedExpert& packed = packed_.emplace_back(pack_expert(values, piece.shape));
    add({piece.name, "I8", packed.code_shape, packed.codes.data()});
    add({scale_name_of(piece.name), "F8_E8M0", packed.scale_shape, packed.scales.data()});
  }

  std::map<std::string, TensorToWrite> by_name_;
  std::deque<std::vector<std::int64_t>> wide_;
  std::deque<PackedExpert> packed_;
};

}  // namespace

Exported export_model(Model& model, const std::string& folder, bool byte_tokenizer,
                      std::uint64_t shard_bytes, bool fp4) {
  NewFolder out(folder);
  Exported done;
  done.folder = out.path();
  const ModelConfig& config = model.config();
  nlohmann::json json = model_to_json(config);
  json["dtype"] = "float32";
  if (fp4) {
    // transformers would read the codes as weights.
    json["expert_dtype"] = "fp4";
    json["model_type"] = kOwnModelType;
    json["architectures"] = {"ShoalForCausalLM"};
  }
  if (json.at("model_type") != kTransformersModelType) {
    done.warnings.push_back(
        "transformers has no such model (residual streams, layers, routing or precision are not "
        "those that it computes): only Shoal reads this folder");
  }
  const Tensors tensors(model, fp4);
  const auto shards = tensors.shards(shard_bytes);
  WeightIndex index;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const std::string name = shards.size() == 1
                                 ? kWeightsName
                                 : shard_name(static_cast<std::int64_t>(s) + 1,
                                              static_cast<std::int64_t>(shards.size()));
    done.weight_files.push_back(name);
    for (const TensorToWrite& tensor : shards[s]) {
      index.file_of[tensor.name] = name;
      done.bytes += Tensors::bytes_of(tensor);
    }
  }
  index.total_bytes = static_cast<std::int64_t>(done.bytes);
  done.tensors = static_cast<std::int64_t>(index.file_of.size());

  const std::string at = out.begin() + "/";
  for (std::size_t s = 0; s < shards.size(); ++s) {
    write_safetensors(at + done.weight_files[s], shards[s]);
  }
  if (shards.size() > 1) replace_file(at + kIndexName, weight_index_text(index));
  replace_file(at + "config.json", json.dump(2) + "\n");
  // Not in config.json: there it would freeze the embedding of eos.
  const nlohmann::json generation = {{"bos_token_id", config.bos_token_id},
                                     {"eos_token_id", config.eos_token_id},
                                     {"pad_token_id", config.eos_token_id}};
  replace_file(at + "generation_config.json", generation.dump(2) + "\n");
  if (byte_tokenizer) {
    replace_file(at + "tokenizer.json", byte_tokenizer_json());
    replace_file(at + "tokenizer_config.json",
                 byte_tokenizer_config(config.max_position_embeddings));
  }
  out.commit();
  return done;
}

}  // namespace shoal

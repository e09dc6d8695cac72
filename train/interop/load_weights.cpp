#include "train/interop/load_weights.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "train/checkpoint/state.h"
#include "train/interop/packed_experts.h"

namespace shoal {
namespace {

struct Target {
  Shape shape;
  bool is_float = true;
  float* floats = nullptr;
  std::int32_t* ints = nullptr;
  bool packable = false;  // may come as packed FP4
};

std::map<std::string, Target> targets_of(Model& model) {
  std::map<std::string, Target> targets;
  model.store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
    const bool allocated = p.value.data != nullptr;
    targets[piece.name] = {piece.shape, true,
                           allocated ? p.value.as<float>() + piece.offset : nullptr, nullptr};
  });
  for (ModelBuffer& b : model.store().buffers()) {
    Target& t = targets[b.name];
    t.shape = b.value.shape;
    t.is_float = b.value.dtype != DType::kI32;
    if (!t.is_float) {
      t.ints = b.value.as<std::int32_t>();
    } else {
      t.floats = b.value.as<float>();
    }
  }
  for (const std::string& name : packable_names(model)) targets.at(name).packable = true;
  return targets;
}

// Does the tensor come as codes and scales?
bool comes_packed(const ModelWeights& weights, const std::string& name, const Target& target) {
  const auto found = weights.parts().find(name);
  return target.packable && found != weights.parts().end() && is_packed(found->second);
}

// Of an expert that comes packed: its codes, or their scales.
bool is_of_packed(const ModelWeights& weights, const std::map<std::string, Target>& targets,
                  const std::string& name) {
  constexpr std::string_view kScale = "scale";
  std::string weight = name;
  if (name.ends_with(kScale)) weight.replace(name.size() - kScale.size(), kScale.size(), "weight");
  const auto target = targets.find(weight);
  return target != targets.end() && comes_packed(weights, weight, target->second);
}

bool same_shape(const std::vector<std::int64_t>& got, const Shape& want) {
  return std::equal(got.begin(), got.end(), want.dim.begin(), want.dim.begin() + want.rank);
}

bool is_float(const std::string& dtype) {
  return dtype == "F32" || dtype == "BF16" || dtype == "F16";
}

// Other quantized weights come with tensors of scales too, which no model here has: said of the
// first one, before a hundred names are called unknown.
void refuse_quantized(const ModelWeights& weights, const std::map<std::string, Target>& targets) {
  for (const auto& [name, part] : weights.parts()) {
    if (is_of_packed(weights, targets, name)) continue;
    const std::string& dtype = part.dtype;
    if (dtype[0] != 'F' && dtype != "I8" && dtype != "U8") continue;
    if (is_float(dtype) || dtype == "F64") continue;
    reject(Failure::kData, weights.place_of(part), " has dtype ", dtype,
           ", which is quantized; expected F32, BF16 or F16 (packed FP4 of routed experts alone)");
  }
}

}  // namespace

bool lacks_mtp(const ModelWeights& weights) {
  const auto first = weights.parts().lower_bound("mtp.");
  return first == weights.parts().end() || !first->first.starts_with("mtp.");
}

void check_weights(Model& model, const ModelWeights& weights) {
  const std::map<std::string, Target> targets = targets_of(model);
  refuse_quantized(weights, targets);
  if (model.has_mtp() && lacks_mtp(weights)) {
    reject(Failure::kData, weights.path(), ": tensor \"mtp.0.norm.weight\" is missing, and all of ",
           "mtp.0; expected them where model.num_nextn_predict_layers is 1 (transformers does not ",
           "keep that block; use 0)");
  }
  std::ostringstream problems;
  int count = 0;
  const auto problem = [&](const auto&... what) {
    if (count++ < 10) ((problems << '\n') << ... << what);
  };
  for (const auto& [name, part] : weights.parts()) {
    if (!targets.contains(name) && !is_of_packed(weights, targets, name)) {
      problem(weights.place_of(part), ": the model has no such tensor");
    }
  }
  for (const auto& [name, target] : targets) {
    const auto found = weights.parts().find(name);
    if (found == weights.parts().end()) {
      problem(weights.path(), ": tensor ", in_quotes(name), ": missing; expected ", target.shape);
      continue;
    }
    const ModelWeights::Part& part = found->second;
    if (comes_packed(weights, name, target)) {
      if (std::string what = packed_problem(weights, name, target.shape); !what.empty()) {
        problem(what);
      }
      continue;
    }
    const bool known =
        target.is_float ? is_float(part.dtype) : part.dtype == "I64" || part.dtype == "I32";
    if (!same_shape(part.shape, target.shape)) {
      problem(weights.place_of(part), " is ", shape_text(part.shape), "; expected ", target.shape);
    } else if (!known) {
      problem(weights.place_of(part), " has dtype ", part.dtype, "; expected ",
              target.is_float ? "F32, BF16 or F16" : "I64 or I32");
    }
  }
  if (count > 0) {
    reject(Failure::kData, weights.path(), ": does not fit the model (", count,
           count == 1 ? " problem)" : " problems)", problems.str());
  }
}

void load_weights(Model& model, const ModelWeights& weights) {
  check_weights(model, weights);
  const std::map<std::string, Target> targets = targets_of(model);
  // Everything is read before anything is changed.
  std::vector<std::pair<const Target*, std::vector<float>>> floats;
  std::vector<std::pair<const Target*, std::vector<std::int64_t>>> ints;
  for (const auto& [name, target] : targets) {
    const ModelWeights::Part& part = weights.parts().at(name);
    if (target.is_float) {
      floats.emplace_back(&target, comes_packed(weights, name, target)
                                       ? read_packed(weights, name, target.shape)
                                       : weights.read_f32(part));
      continue;
    }
    ints.emplace_back(&target, weights.read_i64(part));
    for (const std::int64_t id : ints.back().second) {
      if (id < 0 || id >= model.config().n_routed_experts) {
        reject(Failure::kData, weights.place_of(part), " holds expert ", id, "; expected 0 to ",
               model.config().n_routed_experts - 1);
      }
    }
  }
  for (const auto& [target, values] : floats) {
    std::copy(values.begin(), values.end(), target->floats);
  }
  for (const auto& [target, values] : ints) {
    std::transform(values.begin(), values.end(), target->ints,
                   [](std::int64_t v) { return static_cast<std::int32_t>(v); });
  }
}

}  // namespace shoal

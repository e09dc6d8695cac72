#include "train/interop/load_weights.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

namespace shoal {
namespace {

struct Target {
  Shape shape;
  float* floats = nullptr;
  std::int32_t* ints = nullptr;
};

std::map<std::string, Target> targets_of(Model& model) {
  std::map<std::string, Target> targets;
  model.store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
    targets[piece.name] = {piece.shape, p.value.as<float>() + piece.offset, nullptr};
  });
  for (ModelBuffer& b : model.store().buffers()) {
    Target& t = targets[b.name];
    t.shape = b.value.shape;
    if (b.value.dtype == DType::kI32) {
      t.ints = b.value.as<std::int32_t>();
    } else {
      t.floats = b.value.as<float>();
    }
  }
  return targets;
}

bool same_shape(const std::vector<std::int64_t>& got, const Shape& want) {
  return std::equal(got.begin(), got.end(), want.dim.begin(), want.dim.begin() + want.rank);
}

}  // namespace

void load_weights(Model& model, const SafetensorsFile& file) {
  const std::map<std::string, Target> targets = targets_of(model);
  std::ostringstream problems;
  int count = 0;
  const auto problem = [&](const auto&... what) {
    if (count++ < 10) ((problems << '\n' << file.path() << ": ") << ... << what);
  };
  for (const auto& [name, info] : file.tensors()) {
    if (!targets.contains(name)) problem(name, ": the model has no such tensor");
  }
  for (const auto& [name, target] : targets) {
    if (!file.has(name)) {
      problem(name, ": missing; expected ", target.shape);
    } else if (!same_shape(file.info(name).shape, target.shape)) {
      std::ostringstream got;
      for (const std::int64_t d : file.info(name).shape) got << (got.tellp() ? ", " : "") << d;
      problem(name, ": is [", got.str(), "]; expected ", target.shape);
    }
  }
  if (count > 0) {
    reject(Failure::kData, file.path(), ": does not fit the model (", count,
           count == 1 ? " problem)" : " problems)", problems.str());
  }
  // Everything is read before anything is changed.
  std::vector<std::pair<const Target*, std::vector<float>>> floats;
  std::vector<std::pair<const Target*, std::vector<std::int64_t>>> ints;
  for (const auto& [name, target] : targets) {
    if (target.floats != nullptr) {
      floats.emplace_back(&target, file.read_f32(name));
      continue;
    }
    ints.emplace_back(&target, file.read_i64(name));
    for (const std::int64_t id : ints.back().second) {
      if (id < 0 || id >= model.config().n_routed_experts) {
        reject(Failure::kData, file.path(), ": ", name, ": expert ", id, " of ",
               model.config().n_routed_experts);
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

#include "train/run/run_state.h"

#include <algorithm>

namespace shoal {
namespace {

std::string path_of(const std::string& folder, std::string name) {
  std::replace(name.begin(), name.end(), '.', '/');
  return folder + name;
}

std::vector<std::int64_t> dims(const Shape& shape) {
  return {shape.dim.begin(), shape.dim.begin() + shape.rank};
}

}  // namespace

StateView model_view(Model& model) {
  StateView view;
  model.store().for_each_piece([&](const ParamPiece& piece, ModelParam& p) {
    view.arrays.push_back({path_of("/model/", piece.name), StateType::kF32, dims(piece.shape),
                           p.value.as<float>() + piece.offset});
  });
  for (ModelBuffer& b : model.store().buffers()) {
    view.arrays.push_back({path_of("/model/", b.name),
                           b.value.dtype == DType::kI32 ? StateType::kI32 : StateType::kF32,
                           dims(b.value.shape), b.value.data});
  }
  return view;
}

StateView run_view(Model& model, Optimizer& optimizer, RunPosition& position) {
  StateView view = model_view(model);
  for (const OptimizerState& s : optimizer.state()) {
    view.arrays.push_back(
        {path_of("/optimizer/", s.name) + '/' + s.field, StateType::kF32, s.shape, s.data.data()});
  }
  view.arrays.push_back({"/state/samples", StateType::kI64, {}, &position.samples});
  view.step = position.step;
  view.tokens = position.tokens;
  return view;
}

}  // namespace shoal

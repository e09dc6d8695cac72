#include "train/run/training_state.h"

#include <algorithm>
#include <cstring>
#include <iterator>

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

TrainingState::TrainingState() { add_number("/state/samples", position.samples); }

void TrainingState::add(Model& model) {
  std::vector<StateArray> arrays = model_view(model).arrays;
  std::move(arrays.begin(), arrays.end(), std::back_inserter(fixed_));
}

void TrainingState::add(Optimizer& optimizer) {
  for (const OptimizerState& s : optimizer.state()) {
    fixed_.push_back(
        {path_of("/optimizer/", s.name) + '/' + s.field, StateType::kF32, s.shape, s.data.data()});
  }
}

StateView TrainingState::view() {
  StateView view;
  view.arrays = fixed_;
  for (const Entry& entry : entries_) {
    Place place = entry.now();
    view.arrays.push_back({entry.path, entry.type, std::move(place.shape), place.data});
  }
  view.step = position.step;
  view.tokens = position.tokens;
  return view;
}

void TrainingState::load(const LoadedState& from, const std::string& where) {
  const std::string_view part = part_to_load(from);
  StateView into = view();
  std::vector<const Entry*> missing;
  std::vector<std::vector<std::byte>> lists(entries_.size());  // until it is known that all fits
  for (std::size_t i = 0; i < entries_.size() && part == "/"; ++i) {
    const Entry& entry = entries_[i];
    const auto at = std::find_if(into.arrays.begin(), into.arrays.end(),
                                 [&](const StateArray& a) { return a.path == entry.path; });
    const LoadedArray* stored = from.find(entry.path);
    if (stored == nullptr && entry.begin) {
      missing.push_back(&entry);
      into.arrays.erase(at);
    } else if (stored != nullptr && entry.resize && stored->shape.size() == 1) {
      lists[i].resize(stored->bytes.size());
      at->shape = stored->shape;
      at->data = lists[i].data();
    }
  }
  copy_state(from, into, where, part);
  position.step = from.step;
  position.tokens = from.tokens;
  for (const Entry* entry : missing) entry->begin();
  for (std::size_t i = 0; i < entries_.size() && part == "/"; ++i) {
    const Entry& entry = entries_[i];
    if (!entry.resize || from.find(entry.path) == nullptr) continue;
    entry.resize(lists[i].size() / bytes_of(entry.type));
    if (!lists[i].empty()) std::memcpy(entry.now().data, lists[i].data(), lists[i].size());
  }
}

LoadedState TrainingState::snapshot() {
  const StateView now = view();
  LoadedState copy;
  copy.step = now.step;
  copy.tokens = now.tokens;
  for (const StateArray& array : now.arrays) {
    const auto* bytes = static_cast<const std::byte*>(array.data);
    copy.arrays.push_back({array.path, array.type, array.shape, {bytes, bytes + array.bytes()}});
  }
  return copy;
}

}  // namespace shoal

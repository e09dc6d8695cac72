#pragma once
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "layers/model.h"
#include "optim/optimizer.h"
#include "train/checkpoint/state.h"
#include "train/plan/run_position.h"

namespace shoal {

template <class T>
inline constexpr StateType kStateTypeOf = std::is_same_v<T, float>          ? StateType::kF32
                                          : std::is_same_v<T, double>       ? StateType::kF64
                                          : std::is_same_v<T, std::int32_t> ? StateType::kI32
                                          : std::is_same_v<T, std::int64_t> ? StateType::kI64
                                                                            : StateType::kU64;

// Everything that decides how a run goes on, wherever it lives: whoever keeps such a thing adds it
// once under its path. A checkpoint is the view of it, a snapshot its copy in memory; both come
// back through load(), so that they cannot differ.
class TrainingState {
 public:
  TrainingState();
  TrainingState(const TrainingState&) = delete;  // it points at itself
  TrainingState& operator=(const TrainingState&) = delete;

  RunPosition position;

  // Parameters and buffers, moments. Their memory stays where it is.
  void add(Model& model);
  void add(Optimizer& optimizer);

  // A number. `if_missing`: what it is in checkpoints from before it existed; without, they are
  // refused.
  template <class T>
  void add_number(std::string path, T& number, std::optional<T> if_missing = std::nullopt) {
    entries_.push_back({std::move(path), kStateTypeOf<T>,
                        [&number] {
                          return Place{{}, &number};
                        },
                        nullptr, nullptr});
    if (if_missing) entries_.back().begin = [&number, value = *if_missing] { number = value; };
  }
  // A list whose length changes on the way: a queue, a detector's window. Likewise.
  template <class T>
  void add_list(std::string path, std::vector<T>& list,
                std::optional<std::vector<T>> if_missing = std::nullopt) {
    entries_.push_back({std::move(path), kStateTypeOf<T>,
                        [&list] {
                          return Place{{static_cast<std::int64_t>(list.size())}, list.data()};
                        },
                        [&list](std::size_t length) { list.resize(length); }, nullptr});
    if (if_missing) {
      entries_.back().begin = [&list, value = std::move(*if_missing)] { list = value; };
    }
  }

  // What a save writes; valid until something is added or a list changes its length.
  StateView view();
  // Goes on from `from`: all or nothing, an Error(kData) that begins with `where` if it does not
  // fit. Of an imported model, which has no optimizer yet, the weights.
  void load(const LoadedState& from, const std::string& where);

  // A copy in memory, and the way back.
  LoadedState snapshot();
  void restore(const LoadedState& from) { load(from, "snapshot"); }

 private:
  struct Place {
    std::vector<std::int64_t> shape;
    void* data;
  };
  struct Entry {
    std::string path;
    StateType type;
    std::function<Place()> now;
    std::function<void(std::size_t)> resize;  // of lists
    std::function<void()> begin;              // what a checkpoint that lacks it means, if it may
  };

  std::vector<StateArray> fixed_;
  std::vector<Entry> entries_;
};

// Views of a model's memory under the paths that checkpoints use:
// /model/layers/3/attn/wq_a/weight. A save reads through it, a load writes through it.
StateView model_view(Model& model);

}  // namespace shoal

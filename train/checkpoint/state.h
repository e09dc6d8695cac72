#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace shoal {

enum class StateType : std::uint8_t { kF32, kF64, kI32, kI64, kU64 };

std::string_view name_of(StateType type);  // "f32", ...
std::size_t bytes_of(StateType type);

// One array of a run's state. It points at the run's own memory: a save reads from it, a load
// writes into it.
struct StateArray {
  using Type = StateType;
  std::string path;  // "/model/layers/3/attn/wq_a/weight", "/optimizer/...", "/state/..."
  Type type = Type::kF32;
  std::vector<std::int64_t> shape;  // {}: one number; a 0 inside: no number
  void* data = nullptr;

  std::size_t bytes() const;  // CHECKs that the shape is not negative and its product fits
};

// All that a run needs in order to go on as if it had never stopped.
struct StateView {
  std::vector<StateArray> arrays;
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  std::string config;  // the resolved YAML
};

// The same with bytes of its own: what a file held.
struct LoadedArray {
  std::string path;
  StateType type = StateType::kF32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

struct LoadedState {
  std::vector<LoadedArray> arrays;  // ascending paths
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  std::string config;

  const LoadedArray* find(std::string_view path) const;
  StateView view();  // shares the bytes
};

// Copies `from` into the arrays of `into`, and step, tokens and config with them. All or nothing:
// if names, types or shapes differ at all, nothing is written, and the Error(kData) lists what is
// missing, extra or of another shape. Only arrays whose path starts with `under` count on either
// side ("/model/" for evaluating without an optimizer). `where` opens the message.
void copy_state(const LoadedState& from, StateView& into, const std::string& where,
                std::string_view under = "/");

// What copy_state has to take over to go on from `from`: everything, or "/model/" where step 0
// holds nothing else. That is an imported model, whose optimizer has yet to begin.
std::string_view part_to_load(const LoadedState& from);

// The path of the first array under /model/ or /optimizer/ with a NaN or an infinity; "" if none.
std::string first_not_finite(const std::vector<StateArray>& arrays);

// A caller's list: every path absolute with plain parts, none twice, none the folder of another.
void check_paths(const std::vector<StateArray>& arrays);

std::string shape_text(const std::vector<std::int64_t>& shape);  // "[3, 4]"

}  // namespace shoal

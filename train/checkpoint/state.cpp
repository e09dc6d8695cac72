#include "train/checkpoint/state.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "autograd/base/check.h"

namespace shoal {
namespace {

constexpr std::size_t kMostDifferences = 8;  // named in a message; the rest is counted

// An exponent of all ones is a NaN or an infinity. On bits: no compiler flag can argue it away.
template <class Bits>
bool all_finite(const void* data, std::size_t bytes, Bits exponent) {
  const auto* from = static_cast<const std::byte*>(data);
  Bits bad = 0;
  for (std::size_t at = 0; at < bytes; at += sizeof(Bits)) {
    Bits word;
    std::memcpy(&word, from + at, sizeof word);
    bad |= static_cast<Bits>((word & exponent) == exponent);
  }
  return bad == 0;
}

std::string what_of(StateType type, const std::vector<std::int64_t>& shape) {
  return concat(name_of(type), " ", shape_text(shape));
}

}  // namespace

std::string_view name_of(StateType type) {
  switch (type) {
    case StateType::kF32:
      return "f32";
    case StateType::kF64:
      return "f64";
    case StateType::kI32:
      return "i32";
    case StateType::kI64:
      return "i64";
    case StateType::kU64:
      return "u64";
  }
  return "?";
}

std::size_t bytes_of(StateType type) {
  return type == StateType::kF32 || type == StateType::kI32 ? 4 : 8;
}

std::size_t StateArray::bytes() const {
  std::size_t total = bytes_of(type);
  for (const std::int64_t extent : shape) {
    CHECK(extent >= 0, path, ": shape ", shape_text(shape));
    CHECK(!__builtin_mul_overflow(total, static_cast<std::size_t>(extent), &total), path,
          ": shape ", shape_text(shape));
  }
  return total;
}

const LoadedArray* LoadedState::find(std::string_view path) const {
  const auto at = std::find_if(arrays.begin(), arrays.end(),
                               [&](const LoadedArray& array) { return array.path == path; });
  return at == arrays.end() ? nullptr : &*at;
}

StateView LoadedState::view() {
  StateView view;
  view.step = step;
  view.tokens = tokens;
  view.config = config;
  for (LoadedArray& array : arrays) {
    view.arrays.push_back({array.path, array.type, array.shape, array.bytes.data()});
  }
  return view;
}

void copy_state(const LoadedState& from, StateView& into, const std::string& where,
                std::string_view under) {
  const auto counts = [&](const std::string& path) { return path.starts_with(under); };
  std::map<std::string_view, const LoadedArray*> stored;
  for (const LoadedArray& array : from.arrays) {
    if (counts(array.path)) stored.emplace(array.path, &array);
  }

  std::vector<std::string> differences;
  std::vector<std::pair<const LoadedArray*, const StateArray*>> pairs;
  for (const StateArray& want : into.arrays) {
    if (!counts(want.path)) continue;
    const auto at = stored.find(want.path);
    if (at == stored.end()) {
      differences.push_back(concat("missing ", want.path, " ", what_of(want.type, want.shape)));
      continue;
    }
    const LoadedArray& have = *at->second;
    if (have.type != want.type || have.shape != want.shape) {
      differences.push_back(concat(want.path, " is ", what_of(have.type, have.shape),
                                   ", this run needs ", what_of(want.type, want.shape)));
    } else {
      CHECK(have.bytes.size() == want.bytes(), want.path);
      pairs.emplace_back(&have, &want);
    }
    stored.erase(at);
  }
  for (const auto& [path, array] : stored) {
    differences.push_back(concat("extra ", path, " ", what_of(array->type, array->shape)));
  }

  if (!differences.empty()) {
    std::string list;
    for (std::size_t i = 0; i < std::min(differences.size(), kMostDifferences); ++i) {
      list += (i == 0 ? "" : "; ") + differences[i];
    }
    if (differences.size() > kMostDifferences) {
      list += concat("; and ", differences.size() - kMostDifferences, " more");
    }
    reject(Failure::kData, where, ": a checkpoint of another model, nothing was loaded: ", list);
  }
  for (const auto& [have, want] : pairs) {
    if (!have->bytes.empty()) std::memcpy(want->data, have->bytes.data(), have->bytes.size());
  }
  into.step = from.step;
  into.tokens = from.tokens;
  into.config = from.config;
}

std::string_view part_to_load(const LoadedState& from) {
  const bool weights_alone =
      from.step == 0 && !from.arrays.empty() &&
      std::all_of(from.arrays.begin(), from.arrays.end(),
                  [](const LoadedArray& array) { return array.path.starts_with("/model/"); });
  return weights_alone ? "/model/" : "/";
}

std::string first_not_finite(const std::vector<StateArray>& arrays) {
  for (const StateArray& array : arrays) {
    if (!array.path.starts_with("/model/") && !array.path.starts_with("/optimizer/")) continue;
    const bool fine =
        array.type == StateType::kF32
            ? all_finite<std::uint32_t>(array.data, array.bytes(), 0x7F800000U)
        : array.type == StateType::kF64
            ? all_finite<std::uint64_t>(array.data, array.bytes(), 0x7FF0000000000000U)
            : true;
    if (!fine) return array.path;
  }
  return "";
}

void check_paths(const std::vector<StateArray>& arrays) {
  std::set<std::string_view> paths;
  for (const StateArray& array : arrays) {
    const std::string_view path = array.path;
    CHECK(path.size() > 1 && path.front() == '/', "not an absolute path: '", path, "'");
    CHECK(path.find('\0') == path.npos, path);
    for (std::size_t at = 0; at < path.size();) {
      const std::size_t next = std::min(path.find('/', at + 1), path.size());
      const std::string_view part = path.substr(at + 1, next - at - 1);
      CHECK(!part.empty() && part != "." && part != "..", "not a plain path: '", path, "'");
      at = next;
    }
    CHECK(paths.insert(path).second, path, " is there twice");
  }
  for (const std::string_view path : paths) {
    const std::string folder = std::string(path) + "/";
    const auto inside = paths.lower_bound(folder);
    CHECK(inside == paths.end() || !inside->starts_with(folder), path,
          " is an array and the folder of ", *inside);
  }
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += concat(i == 0 ? "" : ", ", shape[i]);
  }
  return text + "]";
}

}  // namespace shoal

#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <string>
#include <type_traits>

#include "autograd/base/check.h"

namespace shoal {

inline constexpr int kMaxRank = 4;
enum class DType : std::uint8_t { kF32, kI32, kI64 };

// Row-major dimensions, at most four.
struct Shape {
  std::array<std::int64_t, kMaxRank> dim{1, 1, 1, 1};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) {
    CHECK(dims.size() <= kMaxRank, "a shape has at most ", kMaxRank, " dimensions");
    for (const std::int64_t d : dims) dim[static_cast<std::size_t>(rank++)] = d;
  }
  std::int64_t numel() const { return dim[0] * dim[1] * dim[2] * dim[3]; }
  std::int64_t cols() const { return rank == 0 ? 1 : dim[static_cast<std::size_t>(rank - 1)]; }
  std::int64_t rows() const { return cols() == 0 ? 0 : numel() / cols(); }
  std::int64_t operator[](int i) const { return dim[static_cast<std::size_t>(i)]; }
  bool operator==(const Shape&) const = default;
  std::string text() const;  // "[2, 3]"
};

std::ostream& operator<<(std::ostream& out, const Shape& shape);

using ValueId = std::int32_t;
inline constexpr ValueId kConstant = -1;

template <class T>
constexpr DType dtype_of() {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, std::int32_t> ||
                std::is_same_v<T, std::int64_t>);
  return std::is_same_v<T, float>          ? DType::kF32
         : std::is_same_v<T, std::int32_t> ? DType::kI32
                                           : DType::kI64;
}

struct Tensor {          // a handle: trivially copyable, owns nothing
  void* data = nullptr;  // 64-byte aligned, row-major, contiguous
  Shape shape;
  DType dtype = DType::kF32;
  ValueId id = kConstant;  // place on the tape; kConstant takes no gradient

  template <class T = float>
  T* as() const {
    DCHECK(dtype == dtype_of<T>(), "tensor read as another type");
    return static_cast<T*>(data);
  }
  float* row(std::int64_t n) const { return as<float>() + n * shape.cols(); }
  std::size_t bytes() const {
    return static_cast<std::size_t>(shape.numel()) * (dtype == DType::kI64 ? 8 : 4);
  }
  explicit operator bool() const { return data != nullptr; }
};
static_assert(std::is_trivially_copyable_v<Tensor>);

}  // namespace shoal

#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "autograd/tensor.h"

namespace shoal {

// Rows of `width` floats, appended at the end and dropped at the front, contiguous at any time.
// Memory is taken ahead: appending moves older rows only when the end of the memory is reached, and
// then at least as many rows were appended since the last time as are moved.
class RowStore {
 public:
  explicit RowStore(std::int64_t width) : width_(width) {}

  void reserve(std::int64_t rows);  // addresses; pages are touched when rows are written
  // Room for n more rows, which the caller fills.
  float* append(std::int64_t n);
  void append_copy(const Tensor& rows);  // [n, width]
  void keep_last(std::int64_t n);        // drops all older rows

  std::int64_t width() const { return width_; }
  std::int64_t rows() const { return rows_; }
  std::size_t bytes() const { return bytes_of(rows_); }  // of the rows it holds
  Tensor tensor() const;                                 // [rows, width], null where there are none

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::size_t bytes_of(std::int64_t rows) const {
    return static_cast<std::size_t>(rows * width_) * sizeof(float);
  }
  float* front() const { return data_.get() + begin_ * width_; }
  void move_into(std::int64_t capacity);

  std::int64_t width_, begin_ = 0, rows_ = 0, capacity_ = 0;
  std::unique_ptr<float, Free> data_;
};

}  // namespace shoal

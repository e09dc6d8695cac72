#include "layers/decode/row_store.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace shoal {

void RowStore::reserve(std::int64_t rows) {
  if (rows > capacity_) move_into(rows);
}

void RowStore::move_into(std::int64_t capacity) {
  constexpr std::size_t kAlign = 64;
  const std::size_t bytes = (bytes_of(capacity) + kAlign - 1) / kAlign * kAlign;
  std::unique_ptr<float, Free> larger(static_cast<float*>(std::aligned_alloc(kAlign, bytes)));
  if (!larger) throw std::bad_alloc();
  if (rows_ > 0) std::memcpy(larger.get(), front(), bytes_of(rows_));
  data_ = std::move(larger);
  begin_ = 0;
  capacity_ = capacity;
}

float* RowStore::append(std::int64_t n) {
  if (begin_ + rows_ + n > capacity_) {
    if (begin_ >= rows_ && rows_ + n <= capacity_) {
      std::memcpy(data_.get(), front(), bytes_of(rows_));  // they do not overlap
      begin_ = 0;
    } else {
      move_into(2 * (rows_ + n));
    }
  }
  float* end = front() + rows_ * width_;
  rows_ += n;
  return end;
}

void RowStore::append_copy(const Tensor& rows) {
  CHECK(rows.shape.cols() == width_, "rows of ", rows.shape, " for a store of width ", width_);
  if (rows.shape.rows() == 0) return;
  std::memcpy(append(rows.shape.rows()), rows.data, rows.bytes());
}

void RowStore::keep_last(std::int64_t n) {
  const std::int64_t dropped = std::max<std::int64_t>(0, rows_ - n);
  begin_ += dropped;
  rows_ -= dropped;
}

Tensor RowStore::tensor() const {
  if (rows_ == 0) return {};
  return {front(), {rows_, width_}, DType::kF32, kConstant};
}

}  // namespace shoal

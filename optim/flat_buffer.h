#pragma once
#include <cstdint>
#include <span>

namespace shoal {

// Zeroed floats in whole pages of their own, touched when made: no page fault comes later.
// Error(kUsage) if the system has no such memory.
class FlatBuffer {
 public:
  FlatBuffer() = default;
  explicit FlatBuffer(std::int64_t floats);
  ~FlatBuffer();
  FlatBuffer(FlatBuffer&& other) noexcept;
  FlatBuffer& operator=(FlatBuffer&& other) noexcept;

  float* data() const { return data_; }
  std::int64_t size() const { return size_; }
  std::span<float> span(std::int64_t offset, std::int64_t count) const;

 private:
  float* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace shoal

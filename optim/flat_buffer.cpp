#include "optim/flat_buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"

namespace shoal {
namespace {

std::size_t byte_count(std::int64_t floats) {
  return static_cast<std::size_t>(floats) * sizeof(float);
}

}  // namespace

FlatBuffer::FlatBuffer(std::int64_t floats) {
  CHECK(floats >= 0, "flat buffer of ", floats, " floats");
  if (floats == 0) return;
  void* pages =
      mmap(nullptr, byte_count(floats), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) {
    reject(Failure::kUsage, "out of memory: the optimizer needs ", byte_count(floats) >> 20,
           " MiB more; use a smaller model");
  }
  madvise(pages, byte_count(floats), MADV_HUGEPAGE);  // a hint: most systems grant it
  data_ = static_cast<float*>(pages);
  size_ = floats;
  for_chunks(floats, [&](Range r) { std::fill(data_ + r.begin, data_ + r.end, 0.0F); });
}

FlatBuffer::~FlatBuffer() {
  if (data_ != nullptr) munmap(data_, byte_count(size_));
}

FlatBuffer::FlatBuffer(FlatBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

FlatBuffer& FlatBuffer::operator=(FlatBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

std::span<float> FlatBuffer::span(std::int64_t offset, std::int64_t count) const {
  DCHECK(offset >= 0 && count >= 0 && offset + count <= size_);
  return {data_ + offset, static_cast<std::size_t>(count)};
}

}  // namespace shoal

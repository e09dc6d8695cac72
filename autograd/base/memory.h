#pragma once
#include <cstddef>

namespace shoal {

// A reserved range of addresses. Pages cost memory only when first touched, so a range may be far
// larger than the machine; `populate` touches what a step will need, so that the step itself
// causes no page fault. Huge pages are asked for where the system gives them.
class PageRange {
 public:
  PageRange() = default;
  explicit PageRange(std::size_t bytes);  // throws Error(kUsage) when even addresses run out
  // Half as many, and half again, where the system gives no more: `ulimit -v`, strict overcommit.
  static PageRange up_to(std::size_t bytes);
  ~PageRange();
  PageRange(PageRange&& other) noexcept;
  PageRange& operator=(PageRange&& other) noexcept;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  void populate(std::size_t begin, std::size_t end) const;

 private:
  bool reserve();  // size_ bytes of addresses

  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Bytes this process may still take: the smaller of what the system has free and what limits allow.
std::size_t available_memory();
// Page faults of this process so far (minor and major).
long page_faults();
// Keeps the heap's pages once taken, and serves large blocks from it: a warm program that frees
// and takes the same buffers then causes no page fault. Call once, at the start of a program.
void keep_heap_pages();

}  // namespace shoal

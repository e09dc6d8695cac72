#include "tests/support/heap_count.h"

#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/support/sanitizers.h"

namespace {
std::atomic<long> calls{0};
}  // namespace

#ifndef SHOAL_SANITIZED  // which bring an allocator of their own
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  ++calls;
  return std::malloc(bytes);
}
void* operator new(std::size_t bytes) {
  if (void* p = operator new(bytes, std::nothrow)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
#endif

namespace shoal::testing {

long heap_calls() { return calls; }

bool heap_is_counted() {
#ifdef SHOAL_SANITIZED
  return false;
#else
  return true;
#endif
}

}  // namespace shoal::testing

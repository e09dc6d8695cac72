#include "tests/optim/heap_count.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<long> calls{0};
}  // namespace

void* operator new(std::size_t bytes) {
  ++calls;
  if (void* p = std::malloc(bytes)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace shoal::testing {

long heap_calls() { return calls; }

}  // namespace shoal::testing

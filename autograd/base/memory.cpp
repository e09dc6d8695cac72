#include "autograd/base/memory.h"

#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/base/control_group.h"

namespace shoal {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t round_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

PageRange::PageRange(std::size_t bytes) : size_(round_up(std::max(bytes, kPage), kHugePage)) {
  if (!reserve()) {
    reject(Failure::kUsage, "cannot reserve ", size_ >> 20,
           " MiB of addresses: raise `ulimit -v` or make the model or the micro-batch smaller");
  }
}

PageRange PageRange::up_to(std::size_t bytes) {
  constexpr std::size_t kLeast = std::size_t{64} << 20;
  for (PageRange range; bytes > kLeast; bytes /= 2) {
    range.size_ = round_up(bytes, kHugePage);
    if (range.reserve()) return range;
  }
  return PageRange(bytes);
}

bool PageRange::reserve() {
  void* p = mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  data_ = static_cast<std::byte*>(p);
  madvise(data_, size_, MADV_HUGEPAGE);  // a hint; refusal is harmless
  return true;
}

PageRange::~PageRange() {
  if (data_ != nullptr) munmap(data_, size_);
}
PageRange::PageRange(PageRange&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
PageRange& PageRange::operator=(PageRange&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void PageRange::populate(std::size_t begin, std::size_t end) const {
  begin = begin / kPage * kPage;
  end = std::min(size_, round_up(end, kPage));
  if (begin >= end) return;
#ifdef MADV_POPULATE_WRITE
  if (madvise(data_ + begin, end - begin, MADV_POPULATE_WRITE) == 0) return;
#endif
  for (std::size_t i = begin; i < end; i += kPage) {
    auto* byte = reinterpret_cast<volatile unsigned char*>(data_ + i);
    *byte = *byte;
  }
}

std::size_t available_memory() {
  std::ifstream in("/proc/meminfo");
  std::string key, unit;
  std::size_t available = std::numeric_limits<std::size_t>::max();
  for (std::size_t kib = 0; in >> key >> kib; std::getline(in, unit)) {
    if (key == "MemAvailable:") available = kib << 10;
  }
  return std::min(available, read_control_group().memory.value_or(available));
}

long page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

void keep_heap_pages() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 16 << 20);
}

}  // namespace shoal

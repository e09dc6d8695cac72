#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "autograd/base/check.h"
#include "autograd/base/memory.h"

#if defined(__SANITIZE_ADDRESS__)
#define SHOAL_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SHOAL_POISON 1
#endif
#endif
#ifdef SHOAL_POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

namespace shoal {

// All bytes of a step. Activations are pushed from the low end and released together; scratch is
// pushed from the high end and popped in order. Under AddressSanitizer freed bytes are poisoned,
// unless the arena was made for a dry run: nothing reads its bytes, which may be far more than the
// machine has, but the sanitizer's eighth of them would be real memory.
class Arena {
 public:
  static constexpr std::size_t kAlign = 64;

  explicit Arena(std::size_t bytes, bool dry = false)
      : pages_(PageRange::up_to(bytes)), poisons_(!dry), high_(pages_.size()) {}
  ~Arena() {
    unpoison(pages_.data(), low_peak_);
    unpoison(pages_.data() + pages_.size() - high_peak_, high_peak_);
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  void* push(std::size_t bytes) {
    bytes = round(bytes);
    if (bytes > high_ - low_) refuse(bytes);
    std::byte* p = pages_.data() + low_;
    low_ += bytes;
    low_peak_ = std::max(low_peak_, low_);
    unpoison(p, bytes);
    return p;
  }
  void* push_high(std::size_t bytes) {
    bytes = round(bytes);
    if (bytes > high_ - low_) refuse(bytes);
    high_ -= bytes;
    high_peak_ = std::max(high_peak_, pages_.size() - high_);
    std::byte* p = pages_.data() + high_;
    unpoison(p, bytes);
    return p;
  }
  void pop_high(std::size_t bytes) {
    poison(pages_.data() + high_, round(bytes));
    high_ += round(bytes);
  }
  std::size_t mark() const { return low_; }
  void release(std::size_t mark) {
    poison(pages_.data() + mark, low_ - mark);
    low_ = mark;
  }

  std::size_t peak() const { return low_peak_ + high_peak_; }
  std::size_t low_peak() const { return low_peak_; }
  std::size_t high_peak() const { return high_peak_; }
  // Touches the pages that peaks of these sizes will use.
  void populate(std::size_t low_bytes, std::size_t high_bytes) {
    pages_.populate(0, low_bytes);
    pages_.populate(pages_.size() - std::min(pages_.size(), high_bytes), pages_.size());
  }

 private:
  // Sizes come from the user's configuration, and the range is larger than most machines.
  [[noreturn]] void refuse(std::size_t bytes) const {
    reject(Failure::kUsage, "a step's activations need more than ", pages_.size() >> 30,
           " GiB (the next tensor alone ", bytes >> 20,
           " MiB): lower train.micro_batch or data.sequence_length");
  }
  void poison(std::byte* p, std::size_t bytes) const {
    if (poisons_) ASAN_POISON_MEMORY_REGION(p, bytes);
  }
  void unpoison(std::byte* p, std::size_t bytes) const {
    if (poisons_) ASAN_UNPOISON_MEMORY_REGION(p, bytes);
  }
  static std::size_t round(std::size_t n) { return (n + kAlign - 1) & ~(kAlign - 1); }

  PageRange pages_;
  bool poisons_;
  std::size_t low_ = 0, high_, low_peak_ = 0, high_peak_ = 0;
};

// Memory until the end of the enclosing scope.
template <class T>
class Scratch {
 public:
  Scratch(Arena& arena, std::int64_t count)
      : arena_(arena),
        bytes_(static_cast<std::size_t>(count) * sizeof(T)),
        data_(static_cast<T*>(arena.push_high(bytes_))) {}
  ~Scratch() { arena_.pop_high(bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return data_; }
  T& operator[](std::int64_t i) const { return data_[i]; }

 private:
  Arena& arena_;
  std::size_t bytes_;
  T* data_;
};

}  // namespace shoal

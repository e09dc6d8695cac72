#include "autograd/base/parallel.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

#include "autograd/base/check.h"
#include "autograd/base/control_group.h"

namespace shoal {
namespace {

constexpr int kMostThreads = 1024;

thread_local int off_depth = 0;

struct Free {
  void operator()(void* p) const { std::free(p); }
};
struct Slot {
  std::unique_ptr<void, Free> data;
  std::size_t bytes = 0;
};
thread_local std::array<Slot, kThreadSlots> slots;

}  // namespace

int thread_count() { return omp_get_max_threads(); }

int allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = omp_get_num_procs();
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cores = CPU_COUNT(&set);
  // Of a quota the nearest whole number: a thread too many waits for the others' time.
  if (const auto quota = read_control_group().cores) {
    cores = std::min(cores, static_cast<int>(std::min(*quota + 0.5, 1e6)));
  }
  return std::max(1, cores);
}

void set_thread_count(int threads) { omp_set_num_threads(threads); }

void set_threads_from_environment() {
  omp_set_dynamic(0);
  if (std::getenv("OMP_NUM_THREADS") == nullptr) omp_set_num_threads(allowed_cores());
  // The OpenMP runtime keeps their table on the stack, and crashes where it does not fit.
  if (thread_count() > kMostThreads) {
    reject(Failure::kUsage, "OMP_NUM_THREADS: ", thread_count(),
           " threads are too many; use at most ", kMostThreads);
  }
}

ParallelOff::ParallelOff(bool off) : depth_(off ? 1 : 0) { off_depth += depth_; }
ParallelOff::~ParallelOff() { off_depth -= depth_; }
int thread_number() { return omp_get_thread_num(); }

bool parallel_is_off() { return off_depth > 0; }

void* thread_scratch(int slot, std::size_t bytes) {
  Slot& s = slots[static_cast<std::size_t>(slot)];
  if (s.bytes < bytes) {
    s.bytes = (bytes + 4095) & ~std::size_t{4095};
    s.data.reset();
    s.data.reset(std::aligned_alloc(4096, s.bytes));
  }
  return s.data.get();
}

}  // namespace shoal

#include "optim/newton_schulz.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"

namespace shoal {
namespace {

// fn(work, block) for all blocks of all matrices, as one set of tasks.
template <class Count, class Fn>
void for_blocks(const std::vector<PolarWork>& works, const Count& count, const Fn& fn) {
  std::int64_t total = 0;
  for (const PolarWork& w : works) total += (w.*count)();
  for_tasks(total, [&](std::int64_t task) {
    std::size_t i = 0;
    for (; task >= (works[i].*count)(); ++i) task -= (works[i].*count)();
    fn(works[i], task);
  });
}

void run_alone(MatrixRows& matrices, PolarWork w) {
  for (std::int64_t i = 0; i < w.strips(); ++i) w.load(matrices, i);
  for (std::int64_t i = 0; i < w.scales(); ++i) w.scale(i);
  for (int step = 0; step < PolarWork::kSteps; ++step) {
    for (std::int64_t i = 0; i < w.grams(); ++i) w.gram(i);
    for (std::int64_t i = 0; i < w.grams(); ++i) w.polynomial(step, i);
    for (std::int64_t i = 0; i < w.times_blocks(); ++i) w.times(i);
    w.swap();
  }
  for (std::int64_t i = 0; i < w.strips(); ++i) w.store(matrices, i);
}

}  // namespace

NewtonSchulz::NewtonSchulz(std::vector<MatrixSize> matrices) : matrices_(std::move(matrices)) {
  for (const MatrixSize& size : matrices_) {
    CHECK(size.rows > 0 && size.columns > 0, "newton_schulz: matrix ", size.rows, " x ",
          size.columns);
    order_.push_back(static_cast<std::int64_t>(order_.size()));
  }
  std::stable_sort(order_.begin(), order_.end(), [&](std::int64_t a, std::int64_t b) {
    return PolarWork::flops(matrices_[static_cast<std::size_t>(a)]) >
           PolarWork::flops(matrices_[static_cast<std::size_t>(b)]);
  });
}

double NewtonSchulz::flops() const {
  double sum = 0.0;
  for (const MatrixSize& size : matrices_) sum += PolarWork::flops(size);
  return sum;
}

MatrixSize NewtonSchulz::size_at(std::int64_t place) const {
  return matrices_[static_cast<std::size_t>(order_[static_cast<std::size_t>(place)])];
}

PolarWork NewtonSchulz::work_at(std::int64_t place, float* memory) const {
  return {order_[static_cast<std::size_t>(place)], size_at(place), memory};
}

// Who computes which block changes no bit (panel.h), so this may look at the thread count.
void NewtonSchulz::plan(int threads) {
  const std::int64_t count = static_cast<std::int64_t>(order_.size());
  groups_.clear();
  std::int64_t most_floats = 0, floats = 0, blocks = 0, most_works = 0;
  double left = flops();
  for (first_alone_ = 0; first_alone_ < count && threads > 1; ++first_alone_) {
    const MatrixSize size = size_at(first_alone_);
    if (2.0 * threads * PolarWork::flops(size) <= left) break;
    left -= PolarWork::flops(size);
    // A group ends once its smallest phase keeps every thread busy.
    if (groups_.empty() || blocks >= 4 * threads) {
      groups_.push_back({first_alone_, 0});
      floats = blocks = 0;
    }
    ++groups_.back().count;
    floats += PolarWork::float_count(size);
    blocks += gram_block_count(std::min(size.rows, size.columns));
    most_floats = std::max(most_floats, floats);
    most_works = std::max(most_works, groups_.back().count);
  }
  alone_floats_ = 0;
  for (std::int64_t i = first_alone_; i < count; ++i) {
    alone_floats_ = std::max(alone_floats_, PolarWork::float_count(size_at(i)));
  }
  most_floats = std::max(most_floats, threads * alone_floats_);
  if (memory_.size() < most_floats) memory_ = FlatBuffer(most_floats);
  together_.reserve(static_cast<std::size_t>(most_works));
  planned_threads_ = threads;
}

void NewtonSchulz::run_together(MatrixRows& matrices, const Group& group) {
  together_.clear();
  float* memory = memory_.data();
  for (std::int64_t i = group.first; i < group.first + group.count; ++i) {
    together_.push_back(work_at(i, memory));
    memory += PolarWork::float_count(size_at(i));
  }
  const std::vector<PolarWork>& works = together_;
  for_blocks(works, &PolarWork::strips,
             [&](const PolarWork& w, std::int64_t i) { w.load(matrices, i); });
  for_blocks(works, &PolarWork::scales, [](const PolarWork& w, std::int64_t i) { w.scale(i); });
  for (int step = 0; step < PolarWork::kSteps; ++step) {
    for_blocks(works, &PolarWork::grams, [](const PolarWork& w, std::int64_t i) { w.gram(i); });
    for_blocks(works, &PolarWork::grams,
               [step](const PolarWork& w, std::int64_t i) { w.polynomial(step, i); });
    for_blocks(works, &PolarWork::times_blocks,
               [](const PolarWork& w, std::int64_t i) { w.times(i); });
    for (PolarWork& w : together_) w.swap();
  }
  for_blocks(works, &PolarWork::strips,
             [&](const PolarWork& w, std::int64_t i) { w.store(matrices, i); });
}

void NewtonSchulz::run(MatrixRows& matrices) {
  if (matrices_.empty()) return;
  if (planned_threads_ != thread_count()) plan(thread_count());
  for (const Group& group : groups_) run_together(matrices, group);

  // As many workers as threads, each with memory of its own, take the next matrix until none is
  // left: the dearest come first, so that the threads end together.
  const std::int64_t count = static_cast<std::int64_t>(order_.size());
  if (first_alone_ == count) return;
  std::atomic<std::int64_t> next{first_alone_};
  for_tasks(planned_threads_, [&](std::int64_t worker) {
    float* memory = memory_.data() + worker * alone_floats_;
    for (std::int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      run_alone(matrices, work_at(i, memory));
    }
  });
}

}  // namespace shoal

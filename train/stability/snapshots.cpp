#include "train/stability/snapshots.h"

#include <algorithm>

#include "autograd/base/check.h"

namespace shoal {

Snapshots::Snapshots(const CheckpointStore& store, std::int64_t every, std::int64_t lookback,
                     std::int64_t step)
    : store_(store), every_(every), lookback_(lookback) {
  std::vector<Found> found = store.list();
  std::reverse(found.begin(), found.end());
  for (const Found& f : found) {
    if (f.step <= step) keep_stored(f.step);
  }
}

bool Snapshots::is_due(std::int64_t step) const {
  if (entries_.empty()) return true;
  return step % every_ == 0 && entries_.back().step < step;
}

void Snapshots::keep(LoadedState state) {
  const std::int64_t step = state.step;
  add({step, std::move(state), false});
}

void Snapshots::keep_stored(std::int64_t step) { add({step, std::nullopt, true}); }

void Snapshots::add(Entry entry) {
  CHECK(entries_.empty() || entries_.back().step < entry.step, "snapshot of step ", entry.step,
        " after that of ", entries_.back().step);
  const std::int64_t now = entry.step;
  entries_.push_back(std::move(entry));
  // The next spike's onset is at least now + 1 - (lookback - 1): before() asks for that less 2.
  while (entries_.size() > 1 && entries_[1].step <= now - lookback_) {
    entries_.erase(entries_.begin());
  }
}

std::optional<std::int64_t> Snapshots::before(std::int64_t onset) const {
  for (const std::int64_t limit : {onset - 2, onset - 1}) {
    for (auto e = entries_.rbegin(); e != entries_.rend(); ++e) {
      if (e->step <= limit) return e->step;
    }
  }
  return std::nullopt;
}

LoadedState Snapshots::state_of(std::int64_t step) const {
  const auto at = std::find_if(entries_.begin(), entries_.end(),
                               [&](const Entry& e) { return e.step == step; });
  CHECK(at != entries_.end(), "no snapshot of step ", step);
  if (at->state) return *at->state;
  return store_.read_newest(step)->state;
}

void Snapshots::store_older(std::int64_t step, const std::function<void(LoadedState&)>& store) {
  for (Entry& entry : entries_) {
    if (entry.stored || entry.step >= step) continue;
    store(*entry.state);
    entry.stored = true;
  }
}

void Snapshots::forget_after(std::int64_t step) {
  std::erase_if(entries_, [&](const Entry& e) { return e.step > step; });
}

std::vector<std::int64_t> Snapshots::steps() const {
  std::vector<std::int64_t> steps;
  for (const Entry& entry : entries_) steps.push_back(entry.step);
  return steps;
}

}  // namespace shoal

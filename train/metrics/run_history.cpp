#include "train/metrics/run_history.h"

#include <algorithm>
#include <filesystem>

#include "autograd/base/check.h"
#include "autograd/base/read_file.h"

namespace shoal {
namespace {

template <class Record>
void forget_from(std::vector<Record>& records, std::int64_t step) {
  while (!records.empty() && records.back().step >= step) records.pop_back();
}

// Keeps the layers, or groups, of every stride-th step that had any; doubles the stride when there
// are many.
template <class Record>
class Thinner {
 public:
  explicit Thinner(std::vector<Record>& records) : records_(records) {}

  void add(Record&& record) {
    if (record.step < step_) {  // the run went back
      forget_from(records_, record.step);
      while (!kept_.empty() && kept_.back() >= record.step) kept_.pop_back();
    }
    if (record.step != step_) {
      step_ = record.step;
      wanted_ = seen_++ % stride_ == 0;
      if (wanted_) kept_.push_back(step_);
    }
    if (wanted_) records_.push_back(std::move(record));
    if (static_cast<std::int64_t>(kept_.size()) > kMostLayerSteps) halve();
  }

 private:
  void halve() {
    std::vector<std::int64_t> half;
    for (std::size_t i = 0; i < kept_.size(); i += 2) half.push_back(kept_[i]);
    std::erase_if(records_, [&](const Record& r) {
      return !std::binary_search(half.begin(), half.end(), r.step);
    });
    kept_ = std::move(half);
    stride_ *= 2;
  }

  std::vector<Record>& records_;
  std::vector<std::int64_t> kept_;
  std::int64_t step_ = -1, seen_ = 0, stride_ = 1;
  bool wanted_ = false;
};

}  // namespace

RunHistory read_history(std::istream& in, const GiveUp& give_up) {
  RunHistory history;
  Thinner<LayerRecord> layers(history.layers);
  Thinner<GroupRecord> groups(history.groups);
  std::string line;
  while (!(give_up && give_up()) && std::getline(in, line)) {
    ++history.lines;
    const std::optional<Json> object = parse_line(line);
    if (!object) {
      ++history.broken_lines;
    } else if (auto step = step_of(*object)) {
      forget_from(history.steps, step->step);
      history.steps.push_back(*step);
    } else if (auto eval = eval_of(*object)) {
      forget_from(history.evals, eval->step);
      history.evals.push_back(*eval);
    } else if (auto layer = layer_of(*object)) {
      layers.add(std::move(*layer));
    } else if (auto group = group_of(*object)) {
      groups.add(std::move(*group));
    } else if (auto event = event_of(*object)) {
      history.events.push_back(std::move(*event));
    } else {
      ++history.broken_lines;
    }
  }
  return history;
}

RunHistory read_history(const std::string& path, const GiveUp& give_up) {
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return {};
  InputFile in(path, Failure::kDisk);
  RunHistory history = read_history(in, give_up);
  if (in.bad()) reject(Failure::kDisk, path, ": cannot be read to its end");
  return history;
}

}  // namespace shoal

#include "train/run/run_clock.h"

#include <cmath>
#include <cstdlib>

namespace shoal {
namespace {

// 0 where a checkpoint does not say, or says nonsense.
double seconds_in(const RunClock::Notes& notes, const char* name) {
  const auto at = notes.find(name);
  if (at == notes.end()) return 0.0;
  const double seconds = std::strtod(at->second.c_str(), nullptr);
  return std::isfinite(seconds) && seconds > 0.0 ? seconds : 0.0;
}

constexpr std::array kPartNames = {"train_seconds", "eval_seconds", "save_seconds"};

}  // namespace

void RunClock::go_on(const Notes& notes) {
  earlier_ = seconds_in(notes, "run_seconds");
  for (std::size_t i = 0; i < parts_.size(); ++i) parts_[i] = seconds_in(notes, kPartNames[i]);
  first_tokens_ = static_cast<std::int64_t>(seconds_in(notes, "first_tokens"));
}

void RunClock::start() { started_ = std::chrono::steady_clock::now(); }

void RunClock::put_into(Notes& notes) const {
  notes["run_seconds"] = std::to_string(seconds());
  for (std::size_t i = 0; i < parts_.size(); ++i) notes[kPartNames[i]] = std::to_string(parts_[i]);
  notes["first_tokens"] = std::to_string(first_tokens_);
}

double RunClock::seconds() const { return earlier_ + since(started_); }

double RunClock::tokens_per_second(std::int64_t tokens) const {
  const double spent = seconds();
  return spent > 0.0 ? static_cast<double>(tokens - first_tokens_) / spent : 0.0;
}

}  // namespace shoal

#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>

namespace shoal {

// How a run's time was spent, over all the processes that trained it: a checkpoint's notes carry it
// from one to the next. A fork begins a clock of its own.
class RunClock {
 public:
  enum Part { kTraining, kEvaluation, kSaving };  // evaluation: with samples
  using Notes = std::map<std::string, std::string>;

  // Adds the time that it lives to one part.
  class Timing {
   public:
    Timing(RunClock& clock, Part part) : clock_(clock), part_(part) {}
    ~Timing() { clock_.parts_[part_] += since(begin_); }
    Timing(const Timing&) = delete;
    Timing& operator=(const Timing&) = delete;

   private:
    RunClock& clock_;
    Part part_;
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  };

  // A run begins, or is forked, with so many tokens behind it.
  void begin(std::int64_t tokens) { first_tokens_ = tokens; }
  void go_on(const Notes& notes);  // after an earlier process
  void start();                    // from here on time counts
  void put_into(Notes& notes) const;

  double earlier_seconds() const { return earlier_; }
  double seconds() const;  // of the run so far
  double seconds(Part part) const { return parts_[part]; }
  double tokens_per_second(std::int64_t tokens) const;  // over all of `seconds`; `tokens`: by now

 private:
  static double since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  double earlier_ = 0.0;
  std::array<double, 3> parts_{};
  std::int64_t first_tokens_ = 0;
};

}  // namespace shoal

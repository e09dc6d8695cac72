#pragma once

namespace shoal {

// When to write the report while a run goes on. Its cost grows with the run's history, so it is
// written as often as takes no more than a share of the run's time.
class ReportPace {
 public:
  static constexpr double kShare = 0.02;
  static constexpr double kPatience = 1.0;  // seconds that somebody who stops a run is kept waiting

  // The run has taken `run_seconds` in this process.
  bool is_due(double run_seconds) const { return spent_ <= kShare * run_seconds; }
  bool is_quick() const { return last_ <= kPatience; }
  void took(double seconds) {
    last_ = seconds;
    spent_ += seconds;
  }

 private:
  double spent_ = 0.0, last_ = 0.0;
};

}  // namespace shoal

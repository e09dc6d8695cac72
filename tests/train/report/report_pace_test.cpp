#include "train/report/report_pace.h"

#include <gtest/gtest.h>

namespace shoal {
namespace {

// However slow it becomes, at most every fiftieth second goes into the report.
TEST(ReportPace, TakesAShareOfTheRunAtMost) {
  ReportPace pace;
  double now = 0.0, spent = 0.0;
  int written = 0;
  for (int evaluation = 0; evaluation < 20000; ++evaluation) {
    now += 1.0;
    if (!pace.is_due(now)) continue;
    const double cost = 1e-4 * now;  // grows with the run
    pace.took(cost);
    now += cost;
    spent += cost;
    ++written;
  }
  EXPECT_GT(written, 200);
  EXPECT_LT(spent, ReportPace::kShare * now + 1e-4 * now);
}

TEST(ReportPace, TheFirstIsWrittenAtOnceAndAStopWaitsForAQuickOne) {
  ReportPace pace;
  EXPECT_TRUE(pace.is_due(0.0));
  EXPECT_TRUE(pace.is_quick());
  pace.took(0.5);
  EXPECT_TRUE(pace.is_quick());
  EXPECT_FALSE(pace.is_due(24.0));
  EXPECT_TRUE(pace.is_due(25.0));
  pace.took(3.0);
  EXPECT_FALSE(pace.is_quick());
}

}  // namespace
}  // namespace shoal

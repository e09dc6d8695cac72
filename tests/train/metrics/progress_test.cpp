#include "train/metrics/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "autograd/base/quantity.h"

namespace shoal {
namespace {

ProgressState state(std::int64_t step, double run_seconds) {
  ProgressState s;
  s.step = step;
  s.tokens = step * 8192;
  s.loss = 3.21014;
  s.grad_norm = 0.912;
  s.lr = 3e-4;
  s.step_seconds = 0.812;
  s.tokens_per_second = 41234;
  s.run_seconds = run_seconds;
  return s;
}

// A console that writes into a pipe.
struct Pipe {
  std::array<int, 2> ends{};
  Pipe() { EXPECT_EQ(::pipe(ends.data()), 0); }
  ~Pipe() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  int in() const { return ends[1]; }
  std::string read() const {
    EXPECT_EQ(::write(ends[1], "$", 1), 1);  // so that an empty pipe does not block
    std::array<char, 4096> bytes{};
    const ssize_t n = ::read(ends[0], bytes.data(), bytes.size());
    return std::string(bytes.data(), static_cast<std::size_t>(n - 1));
  }
};

TEST(Quantity, Durations) {
  EXPECT_EQ(format_duration(0), "0:00:00");
  EXPECT_EQ(format_duration(59.6), "0:01:00");
  EXPECT_EQ(format_duration(721), "0:12:01");
  EXPECT_EQ(format_duration(3 * 86400 + 4 * 3600 + 5 * 60 + 6), "3d 04:05:06");
  EXPECT_EQ(format_duration(-1), "-");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "-");
  EXPECT_EQ(format_duration(1e300), "-");
  EXPECT_EQ(format_step_time(0.00123), "1.23 ms");
  EXPECT_EQ(format_step_time(0.812), "812 ms");
  EXPECT_EQ(format_step_time(12.34), "12.3 s");
}

TEST(Quantity, Counts) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(0.25), "0.2");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(999.5), "1.00k");
  EXPECT_EQ(format_count(1234), "1.23k");
  EXPECT_EQ(format_count(41234), "41.2k");
  EXPECT_EQ(format_count(99960), "100k");
  EXPECT_EQ(format_count(999600), "1.00M");
  EXPECT_EQ(format_count(20e6), "20.0M");
  EXPECT_EQ(format_count(-1500), "-1.50k");
  EXPECT_EQ(format_count(std::numeric_limits<double>::infinity()), "inf");
}

TEST(Quantity, SmallNumbers) {
  EXPECT_EQ(format_scientific(3e-4), "3.0e-4");
  EXPECT_EQ(format_scientific(1.5e12), "1.5e12");
  EXPECT_EQ(format_scientific(1.0), "1.0e0");
  EXPECT_EQ(format_scientific(2e-100), "2.0e-100");
  EXPECT_EQ(format_short(2e-6), "2e-6");
  EXPECT_EQ(format_short(1.23456), "1.235");
  EXPECT_EQ(format_short(0.5), "0.5");
}

TEST(Progress, LineIsWhatItAlwaysWas) {
  const ProgressGoal goal{.steps = 1000};
  EXPECT_EQ(progress_line(goal, state(120, 97.44), 721),
            "step 120/1000 | loss 3.2101 | norm 0.91 | lr 3.0e-4 | 812 ms | 41.2k tok/s | "
            "ETA 0:12:01");
  ProgressState bad = state(1, 1);
  bad.loss = std::numeric_limits<double>::quiet_NaN();
  bad.grad_norm = 12345;
  EXPECT_EQ(progress_line({.tokens = 20e6}, bad, std::nan("")),
            "step 1 | 8.19k/20.0M tokens | loss nan | norm 1.2e4 | lr 3.0e-4 | 812 ms | "
            "41.2k tok/s | ETA -");
}

TEST(Progress, TimeLeftComesFromTheLimitThatEndsTheRun) {
  const ProgressState start = state(100, 50.0), now = state(120, 70.0);  // a second per step
  EXPECT_DOUBLE_EQ(estimate_seconds_left({.steps = 1000}, start, now), 880.0);
  EXPECT_DOUBLE_EQ(estimate_seconds_left({.tokens = 8192 * 220.0}, start, now), 100.0);
  EXPECT_DOUBLE_EQ(estimate_seconds_left({.minutes = 2}, start, now), 50.0);
  EXPECT_DOUBLE_EQ(
      estimate_seconds_left({.steps = 1000, .tokens = 8192 * 220.0, .minutes = 2}, start, now),
      50.0);
  EXPECT_DOUBLE_EQ(estimate_seconds_left({.steps = 110}, start, now), 0.0);
  EXPECT_TRUE(std::isnan(estimate_seconds_left({.steps = 1000}, start, start)));
}

TEST(Progress, PlainLinesEveryFewStepsAndAtTheEnd) {
  const Pipe pipe;
  Console console(pipe.in(), false, false);
  std::string kept;
  Progress progress(console, {.steps = 7}, state(0, 0), 3,
                    [&](std::string_view line) { kept += std::string(line.substr(0, 9)) + '\n'; });
  for (std::int64_t n = 1; n <= 6; ++n) progress.step(state(n, 1.0 * static_cast<double>(n)));
  progress.eval({.step = 6, .loss = 1.9, .bits_per_byte = 2.75, .bytes = 212000});
  progress.step(state(7, 7.0));
  progress.finish();
  progress.finish();
  EXPECT_EQ(kept, "step 3/7 \nstep 6/7 \neval at s\nstep 7/7 \n");
  const std::string shown = pipe.read();
  EXPECT_EQ(std::count(shown.begin(), shown.end(), '\n'), 4);
  EXPECT_EQ(shown.find('\x1b'), std::string::npos);
  EXPECT_NE(shown.find("eval at step 6 | loss 1.9000 | 2.7500 bits per byte | 212k bytes"),
            std::string::npos);
}

TEST(Progress, ATerminalGetsOneRewrittenLine) {
  const Pipe pipe;
  Console console(pipe.in(), true, false);
  Progress progress(console, {.steps = 7}, state(0, 0), 1);
  progress.step(state(1, 1.0));
  const std::string first = pipe.read();
  EXPECT_THAT(first, testing::StartsWith("\r\x1b[Kstep 1/7"));
  EXPECT_EQ(first.size(), 4U + 79U);  // cut to 80 columns, the last one free
  EXPECT_EQ(first.find('\n'), std::string::npos);
  console.line("warning: x");  // goes above, and the line comes back
  EXPECT_THAT(pipe.read(), testing::StartsWith("\r\x1b[Kwarning: x\nstep 1/7"));
  progress.finish();
  const std::string last = pipe.read();
  EXPECT_THAT(last, testing::StartsWith("\r\x1b[Kstep 1/7 | l"));
  EXPECT_EQ(last.back(), '\n');
}

TEST(Console, ColourOnlyWhereAskedFor) {
  const Pipe pipe;
  Console colored(pipe.in(), true, true);
  colored.show("a | b");
  EXPECT_EQ(pipe.read(), "\r\x1b[Ka \x1b[2m|\x1b[0m b");
}

TEST(Console, QuietShowsOnlyWhatMustBeSeen) {
  const Pipe pipe;
  Console console(pipe.in(), true, false);
  console.set_quiet(true);
  console.show("progress");
  console.say("eval");
  EXPECT_EQ(pipe.read(), "");
  console.line("warning: y");
  EXPECT_EQ(pipe.read(), "warning: y\n");
}

// As an evaluation's: the weighted sum would fall where a weight does.
TEST(Progress, LossIsTheCrossEntropy) {
  StepRecord record;
  record.step = 1;
  record.ce = 5.553;
  record.mtp = 1.9;
  record.loss = 7.453;
  const std::string line = progress_line({}, ProgressState(record, 1.0), 1.0);
  EXPECT_NE(line.find("| loss 5.5530 |"), std::string::npos) << line;
}

}  // namespace
}  // namespace shoal

#include "train/metrics/log_setup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "autograd/base/check.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

TEST(Printable, EscapesWhatCouldMoveTheCursorOrAddALine) {
  EXPECT_EQ(printable("plain é 漢 😀 \\ <b>"), "plain é 漢 😀 \\ <b>");
  EXPECT_EQ(printable("a\nb\tc\rd"), "a\\nb\\tc\\rd");
  EXPECT_EQ(printable(std::string_view("\x1b[2J\0\x7f", 6)), "\\x1b[2J\\x00\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"), "\\u009b");              // C1: a one-byte CSI for some terminals
  EXPECT_EQ(printable("\u202e"), "\\u202e");                // right-to-left override
  EXPECT_EQ(printable("\u2028"), "\\u2028");                // line separator
  EXPECT_EQ(printable("\xff\xc3"), "\\xff\\xc3");           // no UTF-8, cut off
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(printable_lines("a\n\tb\r\x01"), "a\n\tb\\r\\x01");
}

TEST(LogSetup, TheFileGetsEveryLevelAndTheConsoleWhatWasAskedFor) {
  const TemporaryFolder folder;
  const std::string path = folder / "log.txt";
  testing::internal::CaptureStderr();
  set_up_log(0);
  open_log_file(path);
  spdlog::debug("small");
  spdlog::info("file {}", "\x1b[31mred");
  spdlog::warn("care");
  log_to_file("step 10 \x07");
  close_log_file();
  spdlog::error("after");
  const std::string seen = testing::internal::GetCapturedStderr();
  EXPECT_EQ(seen, "file \\x1b[31mred\nwarning: care\nerror: after\n");
  EXPECT_THAT(contents(path), testing::MatchesRegex("[-0-9]+ [0-9:.]+ debug   small\n"
                                                    "[-0-9]+ [0-9:.]+ info    file \\\\x1b.31mred\n"
                                                    "[-0-9]+ [0-9:.]+ warning care\n"
                                                    "[-0-9]+ [0-9:.]+ info    step 10 \\\\x07\n"));
}

TEST(LogSetup, QuietAndVerbose) {
  testing::internal::CaptureStderr();
  set_up_log(-1);
  spdlog::info("hidden");
  spdlog::warn("seen");
  set_up_log(1);
  spdlog::debug("detail");
  set_up_log(-2);
  spdlog::warn("hidden");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: seen\ndetail\n");
  set_up_log(0);
}

TEST(LogSetup, AFileThatCannotBeOpenedIsADiskError) {
  const TemporaryFolder folder;
  write_file(folder / "file", "");
  set_up_log(0);
  try {
    open_log_file(folder / "file/log.txt");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kDisk);
  }
  spdlog::info("still works");
}

}  // namespace
}  // namespace shoal

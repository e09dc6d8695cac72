#include "train/checkpoint/run_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "autograd/base/check.h"

namespace shoal {
namespace {

using testing::HasSubstr;

class Lock : public testing::Test {
 protected:
  Lock() {
    std::string pattern = testing::TempDir() + "shoal_lock_XXXXXX";
    CHECK(::mkdtemp(pattern.data()) != nullptr, pattern);
    folder = pattern;
  }
  ~Lock() override { std::filesystem::remove_all(folder); }

  std::string refusal() {
    try {
      const RunLock lock(folder);
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kUsage) << error.what();
      return error.what();
    }
    return "";
  }

  std::string folder;
};

TEST_F(Lock, ASecondOneInThisProcessIsRefused) {
  std::optional<RunLock> lock(std::in_place, folder);
  EXPECT_THAT(refusal(), AllOf(HasSubstr(folder), HasSubstr(concat("pid ", ::getpid(), " on "))));
  EXPECT_NE(refusal(), "") << "the refused one must not have freed it";
  lock.reset();
  EXPECT_EQ(refusal(), "");
  EXPECT_EQ(refusal(), "");
}

TEST_F(Lock, AnotherProcessIsNamedUntilItIsGone) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const RunLock lock(folder);
    (void)!::write(ready[1], "x", 1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  char host[256] = "";
  ASSERT_EQ(::gethostname(host, sizeof host - 1), 0);
  EXPECT_THAT(refusal(), HasSubstr(concat("pid ", child, " on ", host)));
  ::kill(child, SIGKILL);  // no destructor runs there: its file stays, its lock does not
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(std::filesystem::exists(folder + "/lock"));
  EXPECT_EQ(refusal(), "");
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(Lock, WhatIsInTheFileDoesNotMatter) {
  std::ofstream(folder + "/lock") << "pid 1 on \x1B[2J\nmore";
  EXPECT_EQ(refusal(), "");
}

TEST_F(Lock, AFolderThatIsNotThereIsADiskError) {
  try {
    const RunLock lock(folder + "/nowhere");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.why(), Failure::kDisk);
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/lock"));
  }
  EXPECT_FALSE(std::filesystem::exists(folder + "/nowhere"));
}

}  // namespace
}  // namespace shoal

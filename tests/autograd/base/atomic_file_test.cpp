#include "autograd/base/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>

#include "autograd/base/read_file.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

TEST(AtomicFile, ReplacesTheWholeOrNothing) {
  const TemporaryFolder folder;
  const std::string large(std::size_t{3} << 20, 'l');
  replace_file(folder / "x", "old");
  {
    AtomicFile file(folder / "x");
    file.write(large);
  }
  EXPECT_EQ(read_file(folder / "x"), "old");
  {
    AtomicFile file(folder / "x");
    for (const std::string& piece : {std::string("a"), large, std::string("b"), std::string()}) {
      file.write(piece);
    }
    EXPECT_EQ(read_file(folder / "x"), "old");
    file.commit();
  }
  EXPECT_EQ(read_file(folder / "x"), "a" + large + "b");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  EXPECT_THAT(message_of(Failure::kDisk, [&] { AtomicFile file(folder / "no/x"); }),
              HasSubstr("no/x: cannot be written: No such file"));
}

TEST(AtomicFile, AFullDiskIsADiskError) {
  const TemporaryFolder folder;
  replace_file(folder / "x", "old");
  // A limit on the file's size behaves like a disk that fills up: the last write is short.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit full = before;
  full.rlim_cur = 100;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  EXPECT_THAT(
      message_of(Failure::kDisk, [&] { replace_file(folder / "x", std::string(101, 'x')); }),
      HasSubstr("x: cannot be written: File too large"));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(read_file(folder / "x"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

}  // namespace
}  // namespace shoal

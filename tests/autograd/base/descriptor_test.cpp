#include "autograd/base/descriptor.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(ObstacleToWriting, AsksTheNearestFolderThatIsThere) {
  const TemporaryFolder folder;
  EXPECT_EQ(obstacle_to_writing(folder.path()), "");
  EXPECT_EQ(obstacle_to_writing(folder / "a/b/c"), "");
  EXPECT_EQ(obstacle_to_writing(folder / "a/b/c/"), "");
  folder.write("file", "x");
  EXPECT_EQ(obstacle_to_writing(folder / "file/a/b"), (folder / "file") + ": is no folder");
  EXPECT_EQ(obstacle_to_writing(folder / "file"), (folder / "file") + ": is no folder");
  fs::create_symlink("nowhere", folder / "dangling");
  EXPECT_THAT(obstacle_to_writing(folder / "dangling/a"), HasSubstr("is a link to nothing"));
  fs::create_directory_symlink(folder.path(), folder / "link");
  EXPECT_EQ(obstacle_to_writing(folder / "link/a"), "");
}

TEST(ObstacleToWriting, RightsCount) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "locked");
  fs::permissions(folder / "locked", fs::perms::owner_read | fs::perms::owner_exec);
  const bool root = ::geteuid() == 0;
  if (root) {
    fs::permissions(folder.path(), fs::perms::all);
    ASSERT_EQ(::seteuid(65534), 0);
  }
  const std::string said = obstacle_to_writing(folder / "locked/a/b");
  if (root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  EXPECT_EQ(said, (folder / "locked") + ": Permission denied");
}

}  // namespace
}  // namespace shoal

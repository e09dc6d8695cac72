#include "autograd/base/read_file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(ReadFile, ReadsAllOrTheBeginning) {
  const TemporaryFolder folder;
  const std::string path = folder.write("x", "0123456789");
  EXPECT_EQ(read_file(path), "0123456789");
  EXPECT_EQ(read_file(path, Failure::kData, 4), "0123");
  EXPECT_EQ(read_file(path, Failure::kData, 11), "0123456789");
  fs::create_symlink("x", folder / "link");
  EXPECT_EQ(read_file(folder / "link"), "0123456789");
}

// Each of these would wait for ever, or never end.
TEST(ReadFile, OnlyRegularFiles) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", folder / "link");
  for (const std::string& path :
       {folder / "pipe", folder / "link", std::string("/dev/zero"), std::string("/dev/null")}) {
    const std::string want = path + ": is not a regular file";
    EXPECT_EQ(message_of(Failure::kData, [&] { read_file(path); }), want);
    EXPECT_EQ(message_of(Failure::kDisk, [&] { InputFile(path, Failure::kDisk); }), want);
    EXPECT_EQ(message_of(Failure::kUsage, [&] { open_regular(path, Failure::kUsage); }), want);
  }
  EXPECT_EQ(message_of(Failure::kData, [&] { read_file(folder.path()); }),
            folder.path() + ": is a folder");
  EXPECT_THAT(message_of(Failure::kData, [&] { read_file(folder / "none"); }),
              HasSubstr("cannot be read: No such file"));
}

TEST(ReadFile, LinksAreRefusedWhereTheyAreNotWanted) {
  const TemporaryFolder folder;
  folder.write("x", "0");
  fs::create_symlink("x", folder / "link");
  EXPECT_EQ(open_regular(folder / "x", Failure::kDisk, Links::kRefuse).bytes, 1U);
  message_of(Failure::kDisk,
             [&] { open_regular(folder / "link", Failure::kDisk, Links::kRefuse); });
}

TEST(InputFile, IsReadLineByLineAndAgain) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 30000; ++i) text += "line " + std::to_string(i) + "\n";
  InputFile in(folder.write("x", text + "last"));
  for (int pass = 0; pass < 2; ++pass) {
    std::string line;
    int lines = 0;
    while (std::getline(in, line)) {
      EXPECT_EQ(line, lines < 30000 ? "line " + std::to_string(lines) : "last");
      ++lines;
    }
    EXPECT_EQ(lines, 30001);
    EXPECT_FALSE(in.bad());
    in.rewind();
  }
}

}  // namespace
}  // namespace shoal

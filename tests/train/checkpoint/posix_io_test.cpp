// The real file system: what PosixIo reports, and the store on top of it with real limits and
// real kills.
#include "train/checkpoint/posix_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "autograd/base/check.h"
#include "autograd/base/rng.h"
#include "tests/train/checkpoint/small_state.h"
#include "train/checkpoint/store.h"
#include "train/checkpoint/verify.h"

namespace shoal {
namespace {

using testing::HasSubstr;

class Posix : public testing::Test {
 protected:
  Posix() {
    std::string pattern = testing::TempDir() + "shoal_posix_XXXXXX";
    CHECK(::mkdtemp(pattern.data()) != nullptr, pattern);
    folder = pattern;
  }
  ~Posix() override { std::filesystem::remove_all(folder); }

  template <class Call>
  std::string error_of(Call call) {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kDisk) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(folder));
      return error.what();
    }
    ADD_FAILURE() << "no error";
    return "";
  }
  void write(const std::string& path, const std::string& bytes) {
    const auto file = io.create(path);
    file->write(bytes);
    file->fsync();
    file->close();
  }

  PosixIo io;
  std::string folder;
};

TEST_F(Posix, DoesWhatTheInterfaceSays) {
  const std::string file = folder + "/a", inside = folder + "/sub/b";
  write(file, "hello");
  EXPECT_EQ(io.read(file, 5), "hello");
  EXPECT_EQ(io.size(file), 5U);
  io.mkdir(folder + "/sub");
  write(inside, "");
  EXPECT_EQ(io.read(inside, 0), "");
  ASSERT_EQ(::symlink("/etc", (folder + "/link").c_str()), 0);
  const auto entries = io.list(folder);
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 3U);
  EXPECT_EQ((*entries)[0].name, "a");
  EXPECT_FALSE((*entries)[1].folder) << "a link to a folder is not followed";
  EXPECT_TRUE((*entries)[2].folder);
  EXPECT_FALSE(io.list(folder + "/nowhere"));
  EXPECT_FALSE(io.list(file));
  io.rename(file, folder + "/c");
  io.fsync_folder(folder);
  EXPECT_GT(io.free_bytes(folder).value_or(1), 0U);
  remove_tree(io, folder + "/sub");
  io.unlink(folder + "/link");
  io.unlink(folder + "/c");
  EXPECT_TRUE(io.list(folder)->empty());
  EXPECT_TRUE(std::filesystem::exists("/etc"));
}

TEST_F(Posix, SaysPathAndReason) {
  const std::string file = folder + "/a";
  write(file, "hello");
  EXPECT_THAT(error_of([&] { (void)io.create(file); }), HasSubstr("File exists"));
  EXPECT_THAT(error_of([&] { (void)io.create(folder + "/no/a"); }), HasSubstr("No such file"));
  EXPECT_THAT(error_of([&] { (void)io.read(file, 6); }), HasSubstr("is 5 bytes, expected 6"));
  EXPECT_THAT(error_of([&] { (void)io.read(folder, 6); }), HasSubstr("is a folder"));
  EXPECT_THAT(error_of([&] { io.unlink(folder + "/b"); }), HasSubstr("cannot delete"));
  EXPECT_THAT(error_of([&] { io.rmdir(folder); }), HasSubstr("not empty"));
  EXPECT_THAT(error_of([&] { io.mkdir(folder); }), HasSubstr("File exists"));
  EXPECT_THAT(error_of([&] { io.rename(folder + "/b", file); }), HasSubstr("cannot rename"));
  EXPECT_THAT(error_of([&] { io.fsync_folder(folder + "/b"); }), HasSubstr("No such file"));
  ASSERT_EQ(::mkfifo((folder + "/pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of([&] { (void)io.size(folder + "/pipe"); }), HasSubstr("not a regular"));
  ASSERT_EQ(::symlink(file.c_str(), (folder + "/link").c_str()), 0);
  EXPECT_THAT(error_of([&] { (void)io.read(folder + "/link", 5); }), HasSubstr("is a link"));
}

TEST_F(Posix, AFileSizeLimitFailsTheSaveAndNotTheProcess) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const rlimit limit = {4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    SmallState state(10);
    try {
      CheckpointStore(io, folder).save(state.view(), {}, 1);
    } catch (const Error& error) {
      const bool said = std::string(error.what()).find("File too large") != std::string::npos;
      ::_exit(error.why() == Failure::kDisk && said ? 0 : 2);
    }
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(io.list(folder)->empty()) << "left-overs";
}

TEST_F(Posix, KilledAtRandomInstants) {
  // A child saves step after step; after each kill the newest checkpoint is whole, and never older
  // than the last one that the child saw saved.
  const std::string store_folder = folder + "/checkpoints";
  std::int64_t reached = 0;
  for (std::uint64_t round = 0; round < 25; ++round) {
    CheckpointStore store(io, store_folder);
    store.clean_leftovers();
    SmallState state(0);
    StateView into = state.view();
    (void)store.load_newest(into);
    const std::int64_t start = into.step;
    int pipe_fds[2];
    ASSERT_EQ(::pipe(pipe_fds), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (std::int64_t step = start + 1;; ++step) {
        state.set(step);
        store.save(state.view(), {}, 2);
        if (::write(pipe_fds[1], &step, sizeof step) != sizeof step) ::_exit(1);
      }
    }
    ::close(pipe_fds[1]);
    std::int64_t promised = start;
    std::int64_t step = 0;
    // Every other kill comes after a first save, so that slow disks see some too.
    if (round % 2 == 1 && ::read(pipe_fds[0], &step, sizeof step) == sizeof step) promised = step;
    ::usleep(static_cast<useconds_t>(Rng(3, Purpose::kTest, round).below(0, 20000)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    while (::read(pipe_fds[0], &step, sizeof step) == sizeof step) promised = step;
    ::close(pipe_fds[0]);

    SmallState found(0);
    StateView found_view = found.view();
    const auto report = store.load_newest(found_view);
    if (!report) {
      EXPECT_EQ(promised, 0);
      continue;
    }
    EXPECT_TRUE(report->warnings.empty());
    EXPECT_GE(found_view.step, promised);
    reached = found_view.step;
    EXPECT_EQ(bits(found_view), bits_of_step(found_view.step));
    EXPECT_TRUE(verify_checkpoint(io, folder).empty());
  }
  EXPECT_GT(reached, 5) << "the kills came before any save";
}

}  // namespace
}  // namespace shoal

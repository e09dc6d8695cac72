// A run's folder may come from somebody else: what its links mean stays untouched. A user's own
// links, of the folder and of its checkpoints, work in every command.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "tests/support/micro_run.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Every file below a folder and its bytes, links by what they mean.
std::map<std::string, std::string> content_of(const std::string& folder) {
  std::map<std::string, std::string> content;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder).string();
    if (entry.is_symlink()) {
      content[name] = "link to " + fs::read_symlink(entry.path()).string();
    } else {
      content[name] = entry.is_regular_file() ? bytes_of_file(entry.path()) : "folder";
    }
  }
  return content;
}

enum class Planted { kFileLink, kFolderLink, kDangling, kHardLink, kPipe, kSocket };
constexpr Planted kAll[] = {Planted::kFileLink, Planted::kFolderLink, Planted::kDangling,
                            Planted::kHardLink, Planted::kPipe,       Planted::kSocket};

class PlantedLinks : public testing::Test {
 protected:
  PlantedLinks() {
    micro_.train_to_the_end("made", kSettings);
    micro_.folder().write("victim/thesis.txt", "three years of work\n");
    micro_.folder().write("victim/folder/state.h5", "a checkpoint\n");
    micro_.folder().write("victim/folder/deep/notes.txt", "more\n");
    before_ = content_of(micro_ / "victim");
  }

  void plant(const std::string& path, Planted what) const {
    fs::remove_all(path);
    fs::create_directories(fs::path(path).parent_path());
    switch (what) {
      case Planted::kFileLink:
        return fs::create_symlink(micro_ / "victim/thesis.txt", path);
      case Planted::kFolderLink:
        return fs::create_symlink(micro_ / "victim/folder", path);
      case Planted::kDangling:
        return fs::create_symlink(micro_ / "victim/new", path);
      case Planted::kHardLink:
        return fs::create_hard_link(micro_ / "victim/thesis.txt", path);
      case Planted::kPipe:
        ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
        return;
      case Planted::kSocket: {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        ASSERT_LT(path.size(), sizeof(address.sun_path));
        path.copy(address.sun_path, path.size());
        const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
        ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        ::close(fd);
        return;
      }
    }
  }

  // The run with one thing planted, then a command on it: it ends, with 0 or with a reason.
  void expect_untouched(const std::string& name, Planted what,
                        const std::vector<std::string>& command) {
    fs::remove_all(micro_ / "run");
    fs::copy(micro_ / "made", micro_ / "run", fs::copy_options::recursive);
    plant(micro_ / ("run/" + name), what);
    const Ended ended = run_program(command);
    SCOPED_TRACE(concat(command[0], " with ", name, ' ', static_cast<int>(what), ": ", ended.err));
    EXPECT_EQ(ended.signal, 0);
    EXPECT_THAT(ended.code, testing::AnyOf(0, 2, 3, 5));
    if (ended.code != 0) {
      EXPECT_THAT(ended.last_line(), HasSubstr(micro_ / "run"));
    }
    EXPECT_EQ(content_of(micro_ / "victim"), before_);
  }

  const std::vector<std::string> kSettings = {"train.steps=3", "train.eval_every=1",
                                              "checkpoint.every_steps=1", "checkpoint.keep=1",
                                              "optim.decay_share=0"};
  MicroRun micro_;
  std::map<std::string, std::string> before_;
};

// Every name that a run writes, cuts, renames or deletes.
TEST_F(PlantedLinks, OfAForeignRunAreNotFollowed) {
  const std::vector<std::string> resume = {"resume", micro_ / "run", "train.steps=5"};
  for (const char* name :
       {"lock", "log.txt", "metrics.jsonl", "report.html", "curve.svg", "config.yaml",
        "tensorboard", "checkpoints/.tmp-step-00000004", "checkpoints/.trash-step-00000002",
        "checkpoints/.old-step-00000004", "checkpoints/.old-step-00000003",
        "checkpoints/step-00000004", "checkpoints/step-00000003/state.h5",
        "checkpoints/step-00000003/manifest.json"}) {
    for (const Planted what : kAll) expect_untouched(name, what, resume);
  }
}

TEST_F(PlantedLinks, OfAForeignRunAreNotFollowedByOtherCommands) {
  for (const char* name : {"report.html", "curve.svg", "metrics.jsonl", "config.yaml"}) {
    for (const Planted what : kAll) expect_untouched(name, what, {"report", micro_ / "run"});
  }
  for (const char* name : {"config.yaml", "metrics.jsonl", "lock", "log.txt", "tensorboard"}) {
    for (const Planted what : kAll) {
      fs::remove_all(micro_ / "run");
      plant(micro_ / (std::string("run/") + name), what);
      const Ended ended = micro_.train("run", kSettings);
      SCOPED_TRACE(concat(name, ' ', static_cast<int>(what), ": ", ended.err));
      EXPECT_THAT(ended.code, testing::AnyOf(0, 2, 5));
      EXPECT_EQ(content_of(micro_ / "victim"), before_);
    }
  }
}

TEST_F(PlantedLinks, IntoAnotherRunsCheckpointsAreRefused) {
  micro_.train_to_the_end("other", kSettings);
  const auto before = content_of(micro_ / "other");
  fs::copy(micro_ / "made", micro_ / "run", fs::copy_options::recursive);
  fs::remove_all(micro_ / "run/checkpoints");
  fs::create_symlink(micro_ / "other/checkpoints", micro_ / "run/checkpoints");
  const Ended ended = run_program({"resume", micro_ / "run", "train.steps=5"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.last_line(), HasSubstr("is a link into another run's folder"));
  EXPECT_EQ(content_of(micro_ / "other"), before);
}

// run.dir, a folder around it, and checkpoints may lie on another disk.
TEST_F(PlantedLinks, OfTheUserWorkInEveryCommand) {
  fs::create_directories(micro_ / "scratch/run");
  fs::create_directories(micro_ / "scratch/large");
  fs::create_symlink(micro_ / "scratch", micro_ / "runs");
  fs::create_symlink(micro_ / "scratch/run", micro_ / "run");
  fs::create_symlink(micro_ / "scratch/large", micro_ / "scratch/run/checkpoints");
  micro_.train_to_the_end("run", kSettings);
  EXPECT_TRUE(fs::is_symlink(micro_ / "run"));
  EXPECT_TRUE(fs::is_symlink(micro_ / "scratch/run/checkpoints"));
  EXPECT_TRUE(fs::exists(micro_ / "scratch/large/step-00000003/state.h5"));
  for (const std::string& run : {micro_ / "run", micro_ / "runs/run", micro_ / "scratch/run"}) {
    for (const std::vector<std::string>& command : {std::vector<std::string>{"resume", run},
                                                    {"eval", run},
                                                    {"verify", run},
                                                    {"inspect", run},
                                                    {"report", run},
                                                    {"generate", run, "--prompt", "the "},
                                                    {"verify", run + "/checkpoints/step-00000003"},
                                                    {"verify", run + "/checkpoints"}}) {
      const Ended ended = run_program(command);
      EXPECT_EQ(ended.code, 0) << command[0] << ' ' << run << ": " << ended.err;
    }
    const Ended exported = run_program({"export", run, micro_ / "hub"});
    EXPECT_EQ(exported.code, 0) << exported.err;
    fs::remove_all(micro_ / "hub");
  }
  const Ended resumed = run_program({"resume", micro_ / "run", "train.steps=5"});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(checkpoints_of(micro_ / "scratch/run"), std::vector<std::int64_t>{5});
  EXPECT_TRUE(fs::is_symlink(micro_ / "scratch/run/checkpoints"));
}

}  // namespace
}  // namespace shoal

#include "train/run/run_folder.h"

#include <filesystem>

#include "autograd/base/atomic_file.h"
#include "autograd/base/check.h"
#include "autograd/base/descriptor.h"
#include "autograd/base/read_file.h"
#include "train/metrics/log_setup.h"
#include "train/run/version.h"

namespace shoal {
namespace fs = std::filesystem;
namespace {

const std::string& made(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) reject(Failure::kDisk, path, ": cannot be made: ", error.message());
  return path;
}

// The one link that a run's folder may hold: checkpoints, on a larger disk. In another run's
// folder it would delete what is not its own.
std::string checkpoints_of(const std::string& run) {
  const fs::path path = fs::path(run) / "checkpoints";
  std::error_code error;
  if (!fs::is_symlink(fs::symlink_status(path, error))) return path.string();
  const fs::path target = fs::canonical(path, error);
  if (error || !fs::is_directory(target, error)) {
    reject(Failure::kDisk, path.string(),
           ": is a link to no folder; make the one that it names, or remove the link");
  }
  const fs::path around = target.parent_path();
  if (fs::exists(around / "config.yaml", error) && !fs::equivalent(around, run, error)) {
    reject(Failure::kUsage, path.string(), ": is a link into another run's folder, ",
           around.string(), "; remove the link");
  }
  return path.string();
}

std::string snapshots_of(const std::string& run) {
  const fs::path path = fs::path(run) / "checkpoints" / "snapshots";
  std::error_code error;
  if (fs::is_symlink(fs::symlink_status(path, error))) {
    reject(Failure::kDisk, path.string(), ": is a link; remove it");
  }
  return path.string();
}

}  // namespace

std::string run_folder_of(const std::string& path) {
  fs::path p = fs::absolute(path).lexically_normal();
  if (!p.has_filename()) p = p.parent_path();
  if (p.filename().string().starts_with("step-")) return p.parent_path().parent_path();
  return p;
}

bool holds_run(const std::string& folder) {
  std::error_code ignored;
  for (const char* name : {"config.yaml", "metrics.jsonl"}) {
    if (fs::exists(fs::symlink_status(fs::path(folder) / name, ignored))) return true;
  }
  // An empty folder for them, or a link to one, may have been made for the run to come.
  const fs::path checkpoints = fs::path(folder) / "checkpoints";
  return fs::exists(checkpoints, ignored) && !fs::is_empty(checkpoints, ignored);
}

void require_place_for_run(const std::string& folder) {
  const std::string obstacle = obstacle_to_writing(folder);
  if (!obstacle.empty()) {
    reject(Failure::kDisk, folder, ": a run cannot be written there: ", obstacle,
           "; choose another run.dir");
  }
}

void write_run_config(const std::string& folder, const std::string& yaml) {
  replace_file(folder + "/config.yaml", "# " + program_version() + "\n" + yaml);
}

std::string run_config_text(const std::string& folder) {
  std::error_code error;
  const std::string path = folder + "/config.yaml";
  return fs::exists(path, error) ? read_file(path, Failure::kDisk) : "";
}

RunFolder::RunFolder(Io& io, const std::string& path)
    : lock_(made(path)), store_(io, checkpoints_of(path)), snapshots_(io, snapshots_of(path)) {
  open_log_file(path + "/log.txt");
  store_.clean_leftovers();
  snapshots_.clean_leftovers();
}

void RunFolder::remove_beginning(const std::string& path) {
  close_log_file();
  std::error_code ignored;
  for (const char* name : {"log.txt", "metrics.jsonl", "checkpoints", "lock", ""}) {
    fs::remove(fs::path(path) / name, ignored);  // a folder only if it is empty
  }
}

}  // namespace shoal

#include "train/run/run_folder.h"

#include <filesystem>

#include "autograd/base/atomic_file.h"
#include "autograd/base/check.h"
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

}  // namespace

std::string run_folder_of(const std::string& path) {
  fs::path p = fs::absolute(path).lexically_normal();
  if (!p.has_filename()) p = p.parent_path();
  if (p.filename().string().starts_with("step-")) return p.parent_path().parent_path();
  return p;
}

bool holds_run(const std::string& folder) {
  std::error_code ignored;
  for (const char* name : {"config.yaml", "metrics.jsonl", "checkpoints"}) {
    if (fs::exists(fs::path(folder) / name, ignored)) return true;
  }
  return false;
}

void write_run_config(const std::string& folder, const std::string& yaml) {
  replace_file(folder + "/config.yaml", "# " + program_version() + "\n" + yaml);
}

RunFolder::RunFolder(Io& io, const std::string& path)
    : lock_(made(path)), store_(io, path + "/checkpoints") {
  open_log_file(path + "/log.txt");
  store_.clean_leftovers();
}

void RunFolder::remove_beginning(const std::string& path) {
  close_log_file();
  std::error_code ignored;
  for (const char* name : {"log.txt", "checkpoints", "lock", ""}) {
    fs::remove(fs::path(path) / name, ignored);  // a folder only if it is empty
  }
}

}  // namespace shoal

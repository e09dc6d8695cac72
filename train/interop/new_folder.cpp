#include "train/interop/new_folder.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>

#include "autograd/base/check.h"
#include "autograd/base/descriptor.h"

namespace shoal {
namespace fs = std::filesystem;

NewFolder::NewFolder(const std::string& path) {
  std::error_code error;
  fs::path place = fs::absolute(path, error);
  if (!error) place = fs::weakly_canonical(place, error);
  if (!place.has_filename()) place = place.parent_path();
  if (error || path.empty() || !place.has_filename()) {
    reject(Failure::kUsage, "'", path, "' is no name for a new folder");
  }
  path_ = place.string();
  parent_ = place.parent_path().string();
  const bool there = fs::exists(fs::symlink_status(place, error));
  if (there && !(fs::is_directory(place, error) && fs::is_empty(place, error))) {
    reject(Failure::kUsage, path_, ": is there already and not empty; choose another folder");
  }
  const std::string obstacle = obstacle_to_writing(parent_);
  if (!obstacle.empty()) reject(Failure::kDisk, path_, ": cannot be made: ", obstacle);
}

NewFolder::~NewFolder() {
  if (temporary_.empty()) return;
  try {
    remove_tree(io_, temporary_);
  } catch (const Error&) {  // why the folder was not finished is what counts
  }
}

const std::string& NewFolder::begin() {
  std::error_code error;
  fs::create_directories(parent_, error);
  if (error) reject(Failure::kDisk, parent_, ": cannot be made: ", error.message());
  const std::string hidden = concat(".tmp-", fs::path(path_).filename().string(), '-');
  remove_leftovers(hidden);
  const std::string name = concat(parent_, '/', hidden, ::getpid());
  io_.mkdir(name);
  return temporary_ = name;
}

// What processes left that were killed while they made this folder. One that is still at work
// keeps its own; one that had our number is dead.
void NewFolder::remove_leftovers(const std::string& hidden) {
  for (const Io::Entry& entry : io_.list(parent_).value_or(std::vector<Io::Entry>{})) {
    if (!entry.folder || !entry.name.starts_with(hidden)) continue;
    const char* end = entry.name.data() + entry.name.size();
    pid_t pid = 0;
    const auto read = std::from_chars(entry.name.data() + hidden.size(), end, pid);
    if (read.ec != std::errc() || read.ptr != end || pid <= 0) continue;
    const bool alive = pid != ::getpid() && (::kill(pid, 0) == 0 || errno != ESRCH);
    if (!alive) remove_tree(io_, concat(parent_, '/', entry.name));
  }
}

void NewFolder::commit() {
  io_.fsync_folder(temporary_);
  io_.rename(temporary_, path_);  // an empty folder gives way
  temporary_.clear();
  io_.fsync_folder(parent_);
}

}  // namespace shoal

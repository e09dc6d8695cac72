#include "train/interop/new_folder.h"

#include <unistd.h>

#include <filesystem>

#include "autograd/base/check.h"

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
  const std::string name =
      concat(parent_, "/.tmp-", fs::path(path_).filename().string(), '-', ::getpid());
  // A left-over of a killed process that had our number.
  remove_tree(io_, name);
  io_.mkdir(name);
  return temporary_ = name;
}

void NewFolder::commit() {
  io_.fsync_folder(temporary_);
  io_.rename(temporary_, path_);  // an empty folder gives way
  temporary_.clear();
  io_.fsync_folder(parent_);
}

}  // namespace shoal

#pragma once
#include <string>

#include "train/checkpoint/posix_io.h"

namespace shoal {

// A folder that appears under its name only as a whole: it is filled under a hidden name beside its
// place (.tmp-NAME-PID), synced, renamed. Without commit() that one goes; after a kill it stays
// until the next folder of this name is made.
class NewFolder {
 public:
  // Touches nothing. Error(kUsage): there is something already, and it is not an empty folder.
  explicit NewFolder(const std::string& path);
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const std::string& path() const { return path_; }  // absolute
  // Makes the folder (and those around it) and returns where to write.
  const std::string& begin();
  void commit();

 private:
  void remove_leftovers(const std::string& hidden);

  PosixIo io_;
  std::string path_, parent_, temporary_;
};

}  // namespace shoal

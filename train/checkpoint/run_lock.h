#pragma once
#include <string>

#include "autograd/base/descriptor.h"

namespace shoal {

// Holds a run's folder for this process: the file RUN/lock, locked by the kernel, with our pid and
// host in it. A second process (or a second lock in this one) gets Error(kUsage) naming both. The
// kernel frees the lock of a process that died in whatever way, so a file left behind means
// nothing. Error(kDisk) if the folder cannot be written or its file system knows no locks.
class RunLock {
 public:
  explicit RunLock(const std::string& run_folder);  // which exists
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  Descriptor file_;
};

}  // namespace shoal

#include "train/metrics/append_file.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace shoal {

AppendFile::AppendFile(std::string path, Write how)
    : path_(std::move(path)), file_(open_to_write(path_, how)) {
  size_ = ::lseek(file_, 0, SEEK_END);
}

bool AppendFile::append(std::string_view record) {
  // A file cut back to the last whole record takes the next one cleanly; cutting needs no space.
  if (torn_) torn_ = ::ftruncate(file_, size_) != 0;
  ssize_t done = -1;
  int error = EIO;
  if (!torn_) {
    done = uninterrupted([&] { return ::write(file_, record.data(), record.size()); });
    error = errno;
  }
  if (done == static_cast<ssize_t>(record.size())) {
    size_ += done;
    ++written_;
    return true;
  }
  if (done >= 0) error = ENOSPC;  // a short write has no errno; the disk or a limit is full
  if (done > 0) torn_ = ::ftruncate(file_, size_) != 0;
  warn(error);
  return false;
}

bool AppendFile::sync() {
  if (::fdatasync(file_) == 0 || errno == EINVAL) return true;  // EINVAL: no file on a disk
  warn(errno);
  return false;
}

void AppendFile::warn(int error) {
  if (lost_++ == 0) {
    spdlog::warn("{}: a record could not be written ({}); training goes on without it", path_,
                 std::strerror(error));
  }
}

}  // namespace shoal

#include "train/metrics/file_replacement.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "autograd/base/check.h"

namespace shoal {

FileReplacement::FileReplacement(std::string path) : path_(std::move(path)) {
  const std::filesystem::path place(path_);
  // The process id keeps two programs apart; what an earlier process of this id left is dead.
  const std::string name =
      concat(".tmp-", place.filename().string(), '-', static_cast<long>(::getpid()));
  temporary_ = (place.parent_path() / name).string();
  ::unlink(temporary_.c_str());
  file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file_ < 0) fail("cannot be written");
}

FileReplacement::~FileReplacement() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(temporary_.c_str());
}

void FileReplacement::append(std::string_view bytes) {
  buffer_.append(bytes);
  if (buffer_.size() >= (std::size_t{1} << 20)) flush();
}

void FileReplacement::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t done = ::write(file_, rest.data(), rest.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("cannot be written");
    rest.remove_prefix(static_cast<std::size_t>(done));
  }
  buffer_.clear();
}

void FileReplacement::commit() {
  flush();
  if (::fsync(file_) != 0) fail("cannot be synced");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot be put in place");
  ::close(file_);
  file_ = -1;
  std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  if (folder.empty()) folder = ".";
  const int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    ::fsync(directory);  // a lost rename leaves the old file, which is as whole as the new one
    ::close(directory);
  }
}

void FileReplacement::fail(const char* what) {
  reject(Failure::kDisk, path_, ": ", what, ": ", std::strerror(errno));
}

}  // namespace shoal

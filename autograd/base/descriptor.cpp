#include "autograd/base/descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

namespace shoal {
namespace {

constexpr std::size_t kMostPerCall = std::size_t{1} << 30;  // Linux moves less than 2^31 at once

}  // namespace

bool Descriptor::close() {
  if (fd_ < 0) return true;
  // Linux has closed the descriptor even when it says EINTR.
  return ::close(std::exchange(fd_, -1)) == 0 || errno == EINTR;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t done = uninterrupted(
        [&] { return ::write(fd, bytes.data(), std::min(bytes.size(), kMostPerCall)); });
    if (done == 0) errno = ENOSPC;
    if (done <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(done));
  }
  return true;
}

std::int64_t read_all(int fd, void* out, std::size_t bytes, std::uint64_t offset) {
  std::size_t have = 0;
  while (have < bytes) {
    const ssize_t got = uninterrupted([&] {
      return ::pread(fd, static_cast<std::byte*>(out) + have, std::min(bytes - have, kMostPerCall),
                     static_cast<off_t>(offset + have));
    });
    if (got < 0) return -1;
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  return static_cast<std::int64_t>(have);
}

bool sync_folder(const std::string& path) {
  const Descriptor folder(
      uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (folder < 0) return false;
  // EINVAL: some network and user-space file systems sync folders with every change and refuse
  // to be asked.
  return uninterrupted([&] { return ::fsync(folder); }) == 0 || errno == EINVAL;
}

std::string obstacle_to_writing(const std::string& path) {
  std::filesystem::path place = std::filesystem::absolute(path).lexically_normal();
  std::error_code error;
  while (place.has_relative_path()) {
    // A failure to look is one of the folder around it.
    if (std::filesystem::exists(std::filesystem::symlink_status(place, error))) break;
    place = place.parent_path();
  }
  const std::string found = place.string();
  struct stat info {};
  if (::stat(found.c_str(), &info) != 0) {
    return found + ": " + (errno == ENOENT ? "is a link to nothing" : std::strerror(errno));
  }
  if (!S_ISDIR(info.st_mode)) return found + ": is no folder";
  // As the user whose rights count, and on a file system that takes writes.
  if (::faccessat(AT_FDCWD, found.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    return found + ": " + std::strerror(errno);
  }
  return "";
}

}  // namespace shoal

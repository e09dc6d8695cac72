#include "data/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "autograd/base/check.h"

namespace shoal {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator int() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

std::string read_file(const std::string& path) {
  // Without O_NONBLOCK the open of a named pipe would wait for a writer.
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (fd < 0 || ::fstat(fd, &status) != 0) {
    reject(Failure::kData, path, ": cannot be read: ", std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) reject(Failure::kData, path, ": is not a regular file");
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::read(fd, bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) reject(Failure::kData, path, ": cannot be read: ", std::strerror(errno));
    if (got == 0) reject(Failure::kData, path, ": became shorter while it was read");
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  const std::filesystem::path target(path_);
  folder_ = target.has_parent_path() ? target.parent_path().string() : ".";
  temporary_ = concat(folder_, "/.", target.filename().string(), ".tmp-", ::getpid());
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    reject(Failure::kDisk, path_, ": cannot be written: ", std::strerror(errno));
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(descriptor_, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) reject(Failure::kDisk, path_, ": cannot be written: ", std::strerror(errno));
    bytes.remove_prefix(static_cast<std::size_t>(done));
  }
}

void AtomicFile::finish() {
  const bool synced = ::fsync(descriptor_) == 0;
  const int sync_error = errno;
  const bool closed = ::close(std::exchange(descriptor_, -1)) == 0;
  if (!synced || !closed) {
    reject(Failure::kDisk, path_,
           ": cannot be written: ", std::strerror(synced ? errno : sync_error));
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    reject(Failure::kDisk, path_, ": cannot be written: ", std::strerror(errno));
  }
  temporary_.clear();
  const Descriptor folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder < 0 || ::fsync(folder) != 0) {
    reject(Failure::kDisk, folder_, ": cannot be synced: ", std::strerror(errno));
  }
}

}  // namespace shoal

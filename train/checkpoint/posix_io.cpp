#include "train/checkpoint/posix_io.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "autograd/base/check.h"

namespace shoal {
namespace {

constexpr std::size_t kMostPerCall = std::size_t{1} << 30;  // Linux moves less than 2^31 at once

[[noreturn]] void disk_error(const char* doing, const std::string& path, int reason) {
  reject(Failure::kDisk, path, ": cannot ", doing, ": ", std::strerror(reason));
}

// Repeats a system call that a signal interrupted.
template <class Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

class PosixFile : public Io::File {
 public:
  PosixFile(std::string path, int fd) : path_(std::move(path)), file_(fd) {}

  void write(std::string_view bytes) override {
    while (!bytes.empty()) {
      const ssize_t done = uninterrupted(
          [&] { return ::write(file_.fd(), bytes.data(), std::min(bytes.size(), kMostPerCall)); });
      if (done < 0) disk_error("write", path_, errno);
      if (done == 0) disk_error("write", path_, ENOSPC);
      bytes.remove_prefix(static_cast<std::size_t>(done));
    }
  }

  void fsync() override {
    if (uninterrupted([&] { return ::fsync(file_.fd()); }) != 0) disk_error("sync", path_, errno);
    // Drop the cached pages, so that reading back reads what the disk has. Only advice: no error.
    (void)::posix_fadvise(file_.fd(), 0, 0, POSIX_FADV_DONTNEED);
  }

  void close() override {
    // Linux has closed the descriptor even when it says EINTR.
    if (::close(file_.release()) != 0 && errno != EINTR) disk_error("close", path_, errno);
  }

 private:
  std::string path_;
  Descriptor file_;
};

// For reading. O_NONBLOCK: opening a pipe must not wait for a writer.
int open_regular(const std::string& path, struct stat& info) {
  const int fd = uninterrupted(
      [&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); });
  if (fd < 0) disk_error("open", path, errno);
  Descriptor file(fd);
  if (::fstat(fd, &info) != 0) disk_error("open", path, errno);
  if (!S_ISREG(info.st_mode)) reject(Failure::kDisk, path, ": not a regular file");
  return file.release();
}

}  // namespace

PosixIo::PosixIo() {
  struct sigaction now = {};
  if (::sigaction(SIGXFSZ, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) {
    (void)std::signal(SIGXFSZ, SIG_IGN);
  }
}

std::unique_ptr<Io::File> PosixIo::create(const std::string& path) {
  const int fd = uninterrupted(
      [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
  if (fd < 0) disk_error("create", path, errno);
  return std::make_unique<PosixFile>(path, fd);
}

std::string PosixIo::read(const std::string& path, std::uint64_t bytes) {
  struct stat info = {};
  const Descriptor file(open_regular(path, info));
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size != bytes) {
    reject(Failure::kDisk, path, ": is ", size, " bytes, expected ", bytes);
  }
  std::string content(bytes, '\0');
  std::size_t have = 0;
  while (have < content.size()) {
    const std::size_t want = std::min(content.size() - have, kMostPerCall);
    const ssize_t got =
        uninterrupted([&] { return ::read(file.fd(), content.data() + have, want); });
    if (got < 0) disk_error("read", path, errno);
    if (got == 0) reject(Failure::kDisk, path, ": ended after ", have, " of ", bytes, " bytes");
    have += static_cast<std::size_t>(got);
  }
  return content;
}

std::uint64_t PosixIo::size(const std::string& path) {
  struct stat info = {};
  const Descriptor file(open_regular(path, info));
  return static_cast<std::uint64_t>(info.st_size);
}

void PosixIo::rename(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    disk_error(concat("rename to ", to).c_str(), from, errno);
  }
}

void PosixIo::fsync_folder(const std::string& path) {
  const int fd =
      uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (fd < 0) disk_error("open", path, errno);
  const Descriptor folder(fd);
  // EINVAL: some network and user-space file systems sync folders with every change and refuse
  // to be asked.
  if (uninterrupted([&] { return ::fsync(fd); }) != 0 && errno != EINVAL) {
    disk_error("sync", path, errno);
  }
}

void PosixIo::mkdir(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) != 0) disk_error("create the folder", path, errno);
}

void PosixIo::unlink(const std::string& path) {
  if (::unlink(path.c_str()) != 0) disk_error("delete", path, errno);
}

void PosixIo::rmdir(const std::string& path) {
  if (::rmdir(path.c_str()) != 0) disk_error("delete the folder", path, errno);
}

std::optional<std::vector<Io::Entry>> PosixIo::list(const std::string& path) {
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir(path.c_str()));
  if (!folder) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    disk_error("list", path, errno);
  }
  std::vector<Entry> entries;
  for (;;) {
    errno = 0;
    const dirent* found = ::readdir(folder.get());
    if (found == nullptr) break;
    const std::string name = found->d_name;
    if (name == "." || name == "..") continue;
    struct stat info = {};
    const bool known = ::fstatat(::dirfd(folder.get()), name.c_str(), &info,
                                 AT_SYMLINK_NOFOLLOW) == 0;  // else deleted meanwhile
    if (known) entries.push_back({name, S_ISDIR(info.st_mode)});
  }
  if (errno != 0) disk_error("list", path, errno);
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

std::optional<std::uint64_t> PosixIo::free_bytes(const std::string& path) {
  struct statvfs info = {};
  if (uninterrupted([&] { return ::statvfs(path.c_str(), &info); }) != 0) return std::nullopt;
  if (info.f_blocks == 0) return std::nullopt;  // no such count here
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

}  // namespace shoal

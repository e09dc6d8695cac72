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
#include "autograd/base/descriptor.h"
#include "autograd/base/read_file.h"

namespace shoal {
namespace {

[[noreturn]] void disk_error(const char* doing, const std::string& path, int reason) {
  reject(Failure::kDisk, path, ": cannot ", doing, ": ", std::strerror(reason));
}

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

class PosixFile : public Io::File {
 public:
  PosixFile(std::string path, Descriptor file) : path_(std::move(path)), file_(std::move(file)) {}

  void write(std::string_view bytes) override {
    if (!write_all(file_, bytes)) disk_error("write", path_, errno);
  }

  void fsync() override {
    if (uninterrupted([&] { return ::fsync(file_); }) != 0) disk_error("sync", path_, errno);
    // Drop the cached pages, so that reading back reads what the disk has. Only advice: no error.
    (void)::posix_fadvise(file_, 0, 0, POSIX_FADV_DONTNEED);
  }

  void close() override {
    if (!file_.close()) disk_error("close", path_, errno);
  }

 private:
  std::string path_;
  Descriptor file_;
};

}  // namespace

PosixIo::PosixIo() {
  struct sigaction now = {};
  if (::sigaction(SIGXFSZ, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) {
    (void)std::signal(SIGXFSZ, SIG_IGN);
  }
}

std::unique_ptr<Io::File> PosixIo::create(const std::string& path) {
  Descriptor file(uninterrupted(
      [&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); }));
  if (file < 0) disk_error("create", path, errno);
  return std::make_unique<PosixFile>(path, std::move(file));
}

std::string PosixIo::read(const std::string& path, std::uint64_t bytes) {
  const OpenFile file = open_regular(path, Failure::kDisk, Links::kRefuse);
  if (file.bytes != bytes) {
    reject(Failure::kDisk, path, ": is ", file.bytes, " bytes, expected ", bytes);
  }
  std::string content(bytes, '\0');
  const std::int64_t have = read_all(file.fd, content.data(), content.size());
  if (have < 0) disk_error("read", path, errno);
  if (static_cast<std::uint64_t>(have) < bytes) {
    reject(Failure::kDisk, path, ": ended after ", have, " of ", bytes, " bytes");
  }
  return content;
}

std::uint64_t PosixIo::size(const std::string& path) {
  return open_regular(path, Failure::kDisk, Links::kRefuse).bytes;
}

void PosixIo::rename(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    disk_error(concat("rename to ", to).c_str(), from, errno);
  }
}

void PosixIo::fsync_folder(const std::string& path) {
  if (!sync_folder(path)) disk_error("sync", path, errno);
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

std::optional<std::vector<Io::Entry>> PosixIo::list(const std::string& path, Links links) {
  const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (links == Links::kRefuse ? O_NOFOLLOW : 0);
  Descriptor file(uninterrupted([&] { return ::open(path.c_str(), flags); }));
  if (file < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    if (errno == ELOOP && links == Links::kRefuse) return std::nullopt;
    disk_error("list", path, errno);
  }
  const std::unique_ptr<DIR, CloseFolder> folder(::fdopendir(file));
  if (!folder) disk_error("list", path, errno);
  (void)file.release();  // closed with the folder
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

#include "autograd/base/write_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "autograd/base/check.h"

namespace shoal {
namespace {

// What is at the path itself; 0: nothing.
mode_t kind_at(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 ? info.st_mode & S_IFMT : 0;
}

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  reject(Failure::kDisk, path, ": cannot be opened for writing: ", what);
}

}  // namespace

Descriptor open_to_write(const std::string& path, Write how) {
  int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  if (how == Write::kNew) flags |= O_EXCL;
  Descriptor file(uninterrupted([&] { return ::open(path.c_str(), flags, 0666); }));
  const int error = errno;
  const mode_t kind = kind_at(path);
  if (kind == S_IFLNK) refuse(path, "it is a link; remove it");
  if (file < 0 && (kind == 0 || kind == S_IFREG)) refuse(path, std::strerror(error));
  struct stat info {};
  if (file < 0 || ::fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
    refuse(path, "it is not a regular file; remove it");
  }
  if (info.st_nlink > 1) {
    refuse(path,
           "it has a second name (a hard link), whose content would change, too; replace it "
           "by a copy");
  }
  if (how == Write::kTruncate && ::ftruncate(file, 0) != 0) refuse(path, std::strerror(errno));
  // It was needed for the opening alone.
  (void)::fcntl(file, F_SETFL, ::fcntl(file, F_GETFL) & ~O_NONBLOCK);
  return file;
}

void make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) == 0) return;
  const int error = errno;
  const mode_t kind = kind_at(path);
  if (kind == S_IFDIR) return;
  reject(Failure::kDisk, path, ": cannot be made: ",
         kind == S_IFLNK ? "it is a link; remove it"
         : kind == 0     ? std::strerror(error)
                         : "something else is there; remove it");
}

}  // namespace shoal

#include "autograd/base/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "autograd/base/check.h"

namespace shoal {

constexpr std::size_t kBuffer = std::size_t{1} << 20;

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  const std::filesystem::path place(path_);
  folder_ = place.has_parent_path() ? place.parent_path().string() : ".";
  // The process id keeps two programs apart; what an earlier process of this id left is dead.
  temporary_ = concat(folder_, "/.tmp-", place.filename().string(), '-', ::getpid());
  ::unlink(temporary_.c_str());
  // Exclusively, so that nobody's file or link is followed.
  file_ = Descriptor(uninterrupted(
      [&] { return ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); }));
  if (file_ < 0) fail("cannot be written");
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::put(std::string_view bytes) {
  if (!write_all(file_, bytes)) fail("cannot be written");
}

void AtomicFile::write(std::string_view bytes) {
  if (buffer_.size() + bytes.size() > kBuffer) {
    put(buffer_);
    buffer_.clear();
  }
  if (bytes.size() > kBuffer) {
    put(bytes);
  } else {
    buffer_.append(bytes);
  }
}

void AtomicFile::commit() {
  put(buffer_);
  if (uninterrupted([&] { return ::fsync(file_); }) != 0) fail("cannot be synced");
  if (!file_.close()) fail("cannot be written");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot be put in place");
  temporary_.clear();
  if (!sync_folder(folder_)) fail("its folder cannot be synced");
}

void AtomicFile::fail(const char* what) const {
  const int why = errno;
  reject(Failure::kDisk, path_, ": ", what, ": ", std::strerror(why));
}

void replace_file(const std::string& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace shoal

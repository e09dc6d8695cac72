#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/base/descriptor.h"

namespace shoal {

// Everything a checkpoint asks of a file system, so that a test can stand between us and the disk
// and fail, or crash, at every single call. Each call throws Error(kDisk) naming the path; none of
// them is retried by its caller: after a failed fsync nobody knows what the disk holds.
class Io {
 public:
  struct Entry {
    std::string name;
    bool folder = false;
  };

  // A file being written. The destructor closes quietly; close() also reports.
  class File {
   public:
    virtual ~File() = default;
    virtual void write(std::string_view bytes) = 0;  // all of them
    virtual void fsync() = 0;
    virtual void close() = 0;
  };

  virtual ~Io() = default;

  virtual std::unique_ptr<File> create(const std::string& path) = 0;  // must not exist yet
  // Whole content of a regular file (no link, no pipe) of exactly `bytes` bytes.
  virtual std::string read(const std::string& path, std::uint64_t bytes) = 0;
  virtual std::uint64_t size(const std::string& path) = 0;  // of a regular file
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void fsync_folder(const std::string& path) = 0;
  virtual void mkdir(const std::string& path) = 0;  // must not exist yet
  virtual void unlink(const std::string& path) = 0;
  virtual void rmdir(const std::string& path) = 0;
  // Names in a folder, sorted; nullopt if there is no such folder, or a link instead of it where
  // links are refused.
  virtual std::optional<std::vector<Entry>> list(const std::string& path, Links links) = 0;
  std::optional<std::vector<Entry>> list(const std::string& path) {
    return list(path, Links::kFollow);
  }
  // Bytes we may still write there; nullopt if the file system does not say.
  virtual std::optional<std::uint64_t> free_bytes(const std::string& path) = 0;
};

// Folder and all that is in it. Never follows a link: those inside go, what they mean stays.
void remove_tree(Io& io, const std::string& path);

}  // namespace shoal

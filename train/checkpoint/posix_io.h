#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "train/checkpoint/io.h"

namespace shoal {

// The real file system. Short writes and EINTR are continued; every other failure is an
// Error(kDisk) with the path and the system's reason.
class PosixIo : public Io {
 public:
  using Io::list;
  // Sets SIGXFSZ to "ignore" if nobody handles it: a file-size limit has to come back as a failed
  // write, not as a signal that ends the run.
  PosixIo();

  std::unique_ptr<File> create(const std::string& path) override;
  std::string read(const std::string& path, std::uint64_t bytes) override;
  std::uint64_t size(const std::string& path) override;
  void rename(const std::string& from, const std::string& to) override;
  void fsync_folder(const std::string& path) override;
  void mkdir(const std::string& path) override;
  void unlink(const std::string& path) override;
  void rmdir(const std::string& path) override;
  std::optional<std::vector<Entry>> list(const std::string& path, Links links) override;
  std::optional<std::uint64_t> free_bytes(const std::string& path) override;
};

}  // namespace shoal

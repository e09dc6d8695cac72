#pragma once
#include <string>
#include <string_view>

namespace shoal {

// The whole of a regular file. Throws Error(kData) that names the file and the reason.
std::string read_file(const std::string& path);

// A file that appears under its name only when it is complete and on disk: it is written beside
// `path` under a hidden name, synced, renamed, and the folder synced. Without finish() nothing is
// left. Throws Error(kDisk).
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);
  void finish();

 private:
  std::string path_, folder_, temporary_;
  int descriptor_ = -1;
};

}  // namespace shoal

#pragma once
#include <string>
#include <string_view>

#include "autograd/base/descriptor.h"

namespace shoal {

// A file that appears under its name only when it is complete and on disk: it is written beside
// `path` under a hidden name (.tmp-NAME-PID), synced, renamed, and the folder synced. A reader sees
// the old content or the new one, never a part. Without commit() nothing happened. Throws
// Error(kDisk).
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view bytes);
  void commit();

 private:
  void put(std::string_view bytes);
  [[noreturn]] void fail(const char* what) const;

  std::string path_, folder_, temporary_;
  std::string buffer_;  // of small pieces
  Descriptor file_;
};

// The same for a file of one piece.
void replace_file(const std::string& path, std::string_view bytes);

}  // namespace shoal

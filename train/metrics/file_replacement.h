#pragma once
#include <string>
#include <string_view>

namespace shoal {

// Writes a file beside its final place and renames it: a reader sees the old content or the new
// one, never a part. Without commit() nothing happened. All functions throw Error(kDisk).
class FileReplacement {
 public:
  explicit FileReplacement(std::string path);
  ~FileReplacement();
  FileReplacement(const FileReplacement&) = delete;
  FileReplacement& operator=(const FileReplacement&) = delete;

  void append(std::string_view bytes);
  void commit();

 private:
  void flush();
  [[noreturn]] void fail(const char* what);

  std::string path_, temporary_, buffer_;
  int file_ = -1;
};

}  // namespace shoal

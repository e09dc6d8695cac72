#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "autograd/base/write_file.h"

namespace shoal {

// A file that only grows, by whole records: each is one write(2), so a killed process leaves at
// most one torn record and a reader never sees two mixed. A record that does not fit on the disk
// is taken back and counted; the first loss is warned about, and the run goes on, because metrics
// must not end a training.
class AppendFile {
 public:
  AppendFile(std::string path, Write how);  // Error(kDisk): see open_to_write()

  bool append(std::string_view record);  // false: lost
  bool sync();                           // what was written survives a power cut

  const std::string& path() const { return path_; }
  std::int64_t written() const { return written_; }  // records
  std::int64_t lost() const { return lost_; }

 private:
  void warn(int error);

  std::string path_;
  Descriptor file_;
  std::int64_t size_ = 0;  // end of the last whole record
  bool torn_ = false;      // bytes lie behind size_
  std::int64_t written_ = 0, lost_ = 0;
};

}  // namespace shoal

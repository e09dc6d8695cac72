#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "train/metrics/append_file.h"
#include "train/metrics/records.h"

namespace shoal {

// metrics.jsonl of a run. Whatever belongs to step S is to be written before the checkpoint of
// step S: a resume keeps the lines through the checkpoint's step and repeats what comes after.
class MetricsLog {
 public:
  // Drops lines of later steps than `last_step`, and broken ones, by writing a new file and
  // renaming it; at 0 the file starts empty. Throws Error(kDisk) if that fails. Later a full disk
  // costs lines, not the run (AppendFile). `goes_on`: step 0 has lines to keep, like any other.
  explicit MetricsLog(const std::string& path, std::int64_t last_step = 0, bool goes_on = false);

  // False: the line is lost, which has been warned about once.
  template <class Record>
  bool write(const Record& record) {
    return file_->append(line_of(json_of(record)) + '\n');
  }
  bool sync() { return file_->sync(); }  // before a checkpoint counts as saved
  // Goes back to `last_step` within a run (a rollback), 0 included.
  void rewind(std::int64_t last_step);

  std::int64_t written() const { return file_->written(); }  // lines since it was opened
  std::int64_t lost() const { return file_->lost(); }

 private:
  std::unique_ptr<AppendFile> file_;
};

// Is there a line of this step's evaluation?
bool has_evaluation(const std::string& path, std::int64_t step);

// What the constructor does to the file: returns the number of lines dropped. A missing file is
// an empty one.
std::int64_t drop_lines_after(const std::string& path, std::int64_t last_step);

// A new file `to` with the whole lines of `from` through that step: how a fork comes by its
// parent's curve. A missing `from` leaves `to` empty.
void copy_lines_through(const std::string& from, const std::string& to, std::int64_t last_step);

}  // namespace shoal

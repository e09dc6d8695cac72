#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "train/metrics/append_file.h"
#include "train/metrics/records.h"

namespace shoal {

// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), as event files use it.
std::uint32_t crc32c(std::string_view bytes);

// Writes what TensorBoard reads: FOLDER/events.out.tfevents.<time>.<host>, a row of records
//   uint64 length | uint32 masked CRC of the length | bytes | uint32 masked CRC of the bytes
// (little-endian), where bytes are a protobuf `Event` with scalar summaries, put together by hand.
// As with metrics.jsonl a full disk costs records, not the run.
class TensorboardWriter {
 public:
  // Makes the folder in one that is there. With last_step > 0 it tells TensorBoard to forget what
  // earlier files of the folder say about later steps. Throws Error(kDisk).
  explicit TensorboardWriter(const std::string& folder, std::int64_t last_step = 0);

  using Scalar = std::pair<std::string, double>;
  bool write(std::int64_t step, double time, const std::vector<Scalar>& scalars);
  bool write(const StepRecord& record);
  bool write(const EvalRecord& record);
  bool write(const LayerRecord& record, double time);
  bool write(const GroupRecord& record, double time);
  // As text: what a sample says, of other events their fields.
  bool write(const EventRecord& record);
  bool write_text(std::int64_t step, double time, const std::string& tag, const std::string& text);

  // Goes back to `last_step` within a run: TensorBoard forgets what it was told of later steps.
  bool rewind(std::int64_t last_step);

  const std::string& path() const { return file_->path(); }

 private:
  std::unique_ptr<AppendFile> file_;
};

}  // namespace shoal

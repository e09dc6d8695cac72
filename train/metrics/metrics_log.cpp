#include "train/metrics/metrics_log.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "autograd/base/atomic_file.h"
#include "autograd/base/check.h"
#include "autograd/base/read_file.h"
#include "train/metrics/event_record.h"

namespace shoal {
namespace {

enum class Fate { kKeep, kDrop, kBroken };

Fate fate_of(std::string_view line, std::int64_t last_step) {
  const std::optional<Json> object = parse_line(line);
  if (!object) return Fate::kBroken;
  const auto step = object->find("step");
  if (step == object->end() || !step->is_number_integer()) return Fate::kBroken;
  return step->get<std::int64_t>() <= last_step ? Fate::kKeep : Fate::kDrop;
}

// Reads `in` to its end.
void copy_lines(InputFile& in, const std::string& path, AtomicFile& out, std::int64_t last_step) {
  std::string line;
  while (std::getline(in, line)) {
    if (fate_of(line, last_step) != Fate::kKeep) continue;
    line += '\n';
    out.write(line);
  }
  if (in.bad()) reject(Failure::kDisk, path, ": cannot be read");
  out.commit();
}

std::unique_ptr<AppendFile> open_log(const std::string& path, std::int64_t last_step,
                                     bool goes_on) {
  CHECK(last_step >= 0, "metrics: resume at step ", last_step);
  if (last_step == 0 && !goes_on) return std::make_unique<AppendFile>(path, Write::kTruncate);
  drop_lines_after(path, last_step);
  return std::make_unique<AppendFile>(path, Write::kAppend);
}

}  // namespace

bool has_evaluation(const std::string& path, std::int64_t step) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return false;
  InputFile in(path, Failure::kDisk);
  std::string line;
  while (std::getline(in, line)) {
    if (line.find("\"eval\"") == line.npos) continue;
    const std::optional<Json> object = parse_line(line);
    const auto eval = object ? eval_of(*object) : std::nullopt;
    if (eval && eval->step == step) return true;
  }
  return false;
}

std::int64_t drop_lines_after(const std::string& path, std::int64_t last_step) {
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return 0;
  InputFile in(path, Failure::kDisk);

  // First only look: mostly nothing has to go, and then the file is left alone.
  std::int64_t dropped = 0, broken = 0;
  bool whole = true;  // the last line has its newline
  std::string line;
  while (std::getline(in, line)) {
    whole = !in.eof();
    const Fate fate = fate_of(line, last_step);
    if (fate == Fate::kDrop) ++dropped;
    if (fate == Fate::kBroken) ++broken;
  }
  if (in.bad()) reject(Failure::kDisk, path, ": cannot be read");
  if (broken > 1) spdlog::warn("{}: {} broken lines dropped", path, broken);
  if (dropped + broken == 0 && whole) return 0;

  AtomicFile kept(path);
  in.rewind();
  copy_lines(in, path, kept, last_step);
  return dropped + broken;
}

void copy_lines_through(const std::string& from, const std::string& to, std::int64_t last_step) {
  AtomicFile out(to);
  std::error_code error;
  if (!std::filesystem::exists(from, error) && !error) return out.commit();
  InputFile in(from, Failure::kDisk);
  copy_lines(in, from, out, last_step);
}

MetricsLog::MetricsLog(const std::string& path, std::int64_t last_step, bool goes_on)
    : file_(open_log(path, last_step, goes_on)) {}

void MetricsLog::rewind(std::int64_t last_step) {
  const std::string path = file_->path();
  file_ = open_log(path, last_step, true);
}

}  // namespace shoal

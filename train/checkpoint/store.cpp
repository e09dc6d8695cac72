#include "train/checkpoint/store.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/base/sha256.h"
#include "train/checkpoint/hdf5_image.h"

namespace shoal {
namespace {

constexpr const char* kFinal = "step-";
constexpr const char* kTmp = ".tmp-step-";
constexpr const char* kTrash = ".trash-step-";
constexpr const char* kOld = ".old-step-";
constexpr std::size_t kStepDigits = 8;
constexpr std::uint64_t kSpareBytes = 64 * 1024;  // manifest, folder, and the log

// The step in a name that path_of() makes; nullopt for any other name.
std::optional<std::int64_t> step_in(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  const bool padded = name.size() == kStepDigits || (name.size() > kStepDigits && name[0] != '0');
  if (!padded || name.find_first_not_of("0123456789") != name.npos) return std::nullopt;
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return step;
}

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  char text[32] = "";
  if (::gmtime_r(&now, &parts) != nullptr) {
    (void)std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  }
  return text;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

CheckpointStore::CheckpointStore(Io& io, std::string folder) : io_(io), folder_(std::move(folder)) {
  while (folder_.size() > 1 && folder_.back() == '/') folder_.pop_back();
}

std::string CheckpointStore::path_of(const char* prefix, std::int64_t step) const {
  std::string digits = std::to_string(step);
  digits.insert(0, kStepDigits - std::min(kStepDigits, digits.size()), '0');
  return concat(folder_, "/", prefix, digits);
}

bool CheckpointStore::there(const std::string& path) const { return io_.list(path).has_value(); }

std::vector<Found> CheckpointStore::list() const {
  std::vector<Found> found;
  const auto entries = io_.list(folder_);
  if (!entries) return found;
  for (const Io::Entry& entry : *entries) {
    const auto step = step_in(entry.name, kFinal);
    if (entry.folder && step) found.push_back({*step, folder_ + "/" + entry.name});
  }
  // A save of the same step was interrupted between its two renames.
  const std::size_t finals = found.size();
  for (const Io::Entry& entry : *entries) {
    const auto step = step_in(entry.name, kOld);
    if (!entry.folder || !step) continue;
    const bool replaced = std::any_of(found.begin(), found.begin() + static_cast<long>(finals),
                                      [&](const Found& other) { return other.step == *step; });
    if (!replaced) found.push_back({*step, folder_ + "/" + entry.name});
  }
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.step > b.step; });
  return found;
}

void CheckpointStore::clean_leftovers() {
  const auto entries = io_.list(folder_);
  if (!entries) return;
  for (const Io::Entry& entry : *entries) {
    const std::string path = folder_ + "/" + entry.name;
    const auto old = step_in(entry.name, kOld);
    if (!old && !step_in(entry.name, kTmp) && !step_in(entry.name, kTrash)) continue;
    if (!entry.folder) {
      io_.unlink(path);  // none of ours: a link, say, which goes and not what it means
      continue;
    }
    if (old && !there(path_of(kFinal, *old))) {
      io_.rename(path, path_of(kFinal, *old));
      io_.fsync_folder(folder_);
    } else {
      remove_tree(io_, path);
    }
  }
}

// ---- Saving ------------------------------------------------------------------------------------

SaveReport CheckpointStore::save(const StateView& state, const ManifestInfo& info,
                                 std::int64_t keep) {
  CHECK(keep >= 1, "checkpoints to keep: ", keep);
  CHECK(state.step >= 0 && state.tokens >= 0, "step ", state.step, ", tokens ", state.tokens);
  if (const std::string sick = first_not_finite(state.arrays); !sick.empty()) {
    reject(Failure::kNumbers, "step ", state.step, ": ", sick,
           " has a NaN or an infinity; no checkpoint was written");
  }
  std::string image = build_image(state);
  Manifest manifest;
  manifest.step = state.step;
  manifest.tokens = state.tokens;
  manifest.created = now_utc();
  manifest.config_sha256 = sha256_hex(state.config.data(), state.config.size());
  manifest.info = info;
  manifest.files.push_back({kStateName, image.size(), sha256_hex(image.data(), image.size())});

  SaveReport report;
  report.path = path_of(kFinal, state.step);
  report.bytes = image.size();
  make_folder();
  report.was_there = holds(report.path, manifest.files.front());
  if (report.was_there) {
    io_.fsync_folder(folder_);  // its rename may have been the last thing before a crash
  } else {
    const std::string tmp = path_of(kTmp, state.step);
    try {
      write_folder(tmp, manifest, std::move(image));
      move_in(state.step);
    } catch (const Error&) {
      try {
        remove_tree(io_, tmp);
      } catch (const Error&) {  // the disk is in trouble already; the next start cleans up
      }
      throw;
    }
  }
  delete_old(state.step, keep, report.warnings);
  return report;
}

void CheckpointStore::make_folder() {
  if (there(folder_)) return;
  io_.mkdir(folder_);
  io_.fsync_folder(parent_of(folder_));
}

// Is there a whole checkpoint with this very state?
bool CheckpointStore::holds(const std::string& path, const Manifest::File& file) const {
  if (!there(path)) return false;
  try {
    const Manifest manifest = check_files(io_, path);
    return manifest.files.size() == 1 && manifest.files.front() == file;
  } catch (const Error&) {
    return false;  // damaged or unreadable: it will be replaced
  }
}

void CheckpointStore::write_synced(const std::string& path, std::string_view bytes) {
  const auto file = io_.create(path);
  file->write(bytes);
  file->fsync();
  file->close();
}

// A complete checkpoint, on the disk to the last byte, under a name that nobody loads.
void CheckpointStore::write_folder(const std::string& folder, const Manifest& manifest,
                                   std::string image) {
  remove_tree(io_, folder);  // of an earlier attempt at this step
  // A tenth more than the bytes, because others write too.
  const std::uint64_t need = image.size() + image.size() / 10 + kSpareBytes;
  if (const auto free = io_.free_bytes(folder_); free && *free < need) {
    reject(Failure::kDisk, folder_, ": no space for a checkpoint: needs ", need, " bytes, ", *free,
           " are free");
  }
  io_.mkdir(folder);
  write_synced(folder + "/" + kStateName, image);
  std::string().swap(image);  // reading back takes as much again
  write_synced(folder + "/" + kManifestName, manifest_text(manifest));
  io_.fsync_folder(folder);
  try {
    (void)check_files(io_, folder);  // what a load would see
  } catch (const Error& error) {
    reject(Failure::kDisk, "what was written cannot be read back: ", error.what());
  }
}

void CheckpointStore::move_in(std::int64_t step) {
  const std::string final = path_of(kFinal, step);
  const std::string old = path_of(kOld, step);
  if (there(final)) {
    // Two folders cannot change places portably; a crash in between leaves the old one, which
    // list() knows.
    remove_tree(io_, old);
    io_.rename(final, old);
  }
  io_.rename(path_of(kTmp, step), final);
  io_.fsync_folder(folder_);
}

// First the name, then the files: a half-deleted folder never looks like a damaged checkpoint.
void CheckpointStore::discard(const std::string& path, std::int64_t step) {
  const std::string trash = path_of(kTrash, step);
  remove_tree(io_, trash);
  io_.rename(path, trash);
  io_.fsync_folder(folder_);
  remove_tree(io_, trash);
}

std::vector<std::string> CheckpointStore::discard_after(std::int64_t step) {
  std::vector<std::string> removed;
  for (const Found& found : list()) {
    if (found.step <= step) break;  // newest first
    discard(found.path, found.step);
    removed.push_back(found.path);
  }
  return removed;
}

// Runs when the new checkpoint is safe. What cannot be deleted is a warning: nothing is lost by it.
void CheckpointStore::delete_old(std::int64_t step, std::int64_t keep,
                                 std::vector<std::string>& warnings) {
  try {
    const std::string old = path_of(kOld, step);
    if (there(old)) discard(old, step);
    std::int64_t kept = 0;
    for (const Found& found : list()) {
      if (found.step > step) continue;
      if (++kept > keep) discard(found.path, found.step);
    }
  } catch (const Error& error) {
    warnings.emplace_back(concat("an old checkpoint was not deleted: ", error.what()));
  }
}

// ---- Loading -----------------------------------------------------------------------------------

std::optional<CheckpointStore::Stored> CheckpointStore::read_newest(
    std::optional<std::int64_t> step) const {
  std::vector<Found> candidates = list();
  if (candidates.empty() && !step) return std::nullopt;
  if (step) {
    std::erase_if(candidates, [&](const Found& found) { return found.step != *step; });
    if (candidates.empty()) {
      reject(Failure::kData, folder_, ": holds no checkpoint of step ", *step);
    }
  }
  std::vector<std::string> problems;
  for (const Found& found : candidates) {
    try {
      Checkpoint read = read_checkpoint(io_, found.path);
      if (read.manifest.step != found.step) {
        reject(Failure::kData, found.path, ": is of step ", read.manifest.step, ", its name says ",
               found.step);
      }
      Stored stored{std::move(read.state), {found.path, std::move(read.manifest), {}}};
      for (std::string& problem : problems) {
        stored.report.warnings.push_back(std::move(problem));
      }
      if (found.step != candidates.front().step) {
        stored.report.warnings.push_back(
            concat("going on from step ", found.step, " instead of ", candidates.front().step, ": ",
                   candidates.front().step - found.step, " steps are lost"));
      }
      return stored;
    } catch (const Error& error) {
      if (error.why() != Failure::kData && error.why() != Failure::kDisk) throw;
      problems.emplace_back(error.what());
    }
  }
  std::string list;
  for (const std::string& problem : problems) list += "; " + problem;
  reject(Failure::kData, folder_, ": no checkpoint can be used", list);
}

std::optional<LoadReport> CheckpointStore::load_newest(StateView& into,
                                                       std::optional<std::int64_t> step) const {
  std::optional<Stored> stored = read_newest(step);
  if (!stored) return std::nullopt;
  copy_state(stored->state, into, stored->report.path, part_to_load(stored->state));
  return std::move(stored->report);
}

CheckpointStore::Stored read_stored(Io& io, const std::string& path,
                                    std::optional<std::int64_t> step) {
  const auto entries = io.list(path);
  if (!entries) reject(Failure::kData, path, ": no such folder");
  const auto has = [&](const char* name) {
    return std::any_of(entries->begin(), entries->end(),
                       [&](const Io::Entry& entry) { return entry.name == name; });
  };
  if (has("checkpoints")) {
    const std::string folder = path + "/checkpoints";
    if (auto stored = CheckpointStore(io, folder).read_newest(step)) return std::move(*stored);
    reject(Failure::kData, folder, ": holds no checkpoint yet");
  }
  if (has("config.yaml")) reject(Failure::kData, path, ": holds no checkpoint yet");
  if (!has(kManifestName)) reject(Failure::kData, path, ": neither a run nor a checkpoint");
  Checkpoint read = read_checkpoint(io, path);
  return {std::move(read.state), {path, std::move(read.manifest), {}}};
}

}  // namespace shoal

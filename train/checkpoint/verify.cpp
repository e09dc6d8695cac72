#include "train/checkpoint/verify.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "autograd/base/check.h"
#include "train/checkpoint/reader.h"
#include "train/checkpoint/store.h"

namespace shoal {
namespace {

bool names_a_step(std::string path) {
  while (path.ends_with('/')) path.pop_back();
  const std::string name = path.substr(path.find_last_of('/') + 1);
  return name.size() > 5 && name.starts_with("step-") &&
         name.find_first_not_of("0123456789", 5) == name.npos;
}

// Folders of the checkpoints that a path means, newest first.
std::vector<std::string> folders_of(Io& io, const std::string& path) {
  const auto entries = path.empty() ? std::nullopt : io.list(path);
  if (!entries) return {};
  const auto has = [&](const char* name, bool folder) {
    return std::any_of(entries->begin(), entries->end(), [&](const Io::Entry& entry) {
      return entry.name == name && entry.folder == folder;
    });
  };
  // Other programs have a manifest.json, too.
  const bool has_both = has(kManifestName, false) && has(kStateName, false);
  if (has_both || names_a_step(path)) return {path};
  std::vector<std::string> folders;
  const std::string inside = path + "/checkpoints";  // may be a link to a folder elsewhere
  const std::string store = io.list(inside) ? inside : path;
  for (const Found& found : CheckpointStore(io, store).list()) folders.push_back(found.path);
  return folders;
}

std::vector<std::string> folders_or_error(Io& io, const std::string& path) {
  std::vector<std::string> folders = folders_of(io, path);
  if (folders.empty()) reject(Failure::kData, path, ": neither a checkpoint nor a run with one");
  return folders;
}

// Of a run at `path`, since it was listed: its process keeps the newest ones alone.
bool was_deleted(Io& io, const std::string& path, const std::string& folder) {
  return folder != path && !io.list(folder);
}

template <class Number>
void measure(const LoadedArray& array, CheckpointTable::Row& row) {
  double squares = 0;
  std::int64_t finite = 0;
  for (std::size_t at = 0; at < array.bytes.size(); at += sizeof(Number)) {
    Number number;
    std::memcpy(&number, array.bytes.data() + at, sizeof number);
    const auto value = static_cast<double>(number);
    if (!std::isfinite(value)) {
      ++row.not_finite;
      continue;
    }
    ++finite;
    squares += value * value;
    row.most = std::max(row.most, std::abs(value));
  }
  if (finite > 0) row.rms = std::sqrt(squares / static_cast<double>(finite));
}

CheckpointTable::Row row_of(const LoadedArray& array) {
  CheckpointTable::Row row;
  row.path = array.path;
  row.type = array.type;
  row.shape = array.shape;
  row.bytes = array.bytes.size();
  switch (array.type) {
    case StateType::kF32:
      measure<float>(array, row);
      break;
    case StateType::kF64:
      measure<double>(array, row);
      break;
    case StateType::kI32:
      measure<std::int32_t>(array, row);
      break;
    case StateType::kI64:
      measure<std::int64_t>(array, row);
      break;
    case StateType::kU64:
      measure<std::uint64_t>(array, row);
      break;
  }
  return row;
}

}  // namespace

bool is_checkpoint_path(Io& io, const std::string& path) { return !folders_of(io, path).empty(); }

std::vector<std::string> verify_checkpoint(Io& io, const std::string& path) {
  std::vector<std::string> problems;
  for (const std::string& folder : folders_or_error(io, path)) {
    try {
      Checkpoint checkpoint = read_checkpoint(io, folder);
      const std::string sick = first_not_finite(checkpoint.state.view().arrays);
      if (!sick.empty()) {
        problems.push_back(concat(folder, ": ", sick, " has a NaN or an infinity"));
      }
    } catch (const Error& error) {
      if (error.why() != Failure::kData && error.why() != Failure::kDisk) throw;
      if (!was_deleted(io, path, folder)) problems.emplace_back(error.what());
    }
  }
  return problems;
}

std::vector<CheckpointTable> inspect_checkpoint(Io& io, const std::string& path) {
  std::vector<CheckpointTable> tables;
  for (const std::string& folder : folders_or_error(io, path)) {
    CheckpointTable table;
    table.path = folder;
    try {
      Checkpoint checkpoint = read_checkpoint(io, folder);
      table.manifest = std::move(checkpoint.manifest);
      table.config = std::move(checkpoint.state.config);
      for (const LoadedArray& array : checkpoint.state.arrays) table.rows.push_back(row_of(array));
    } catch (const Error& error) {
      if (error.why() != Failure::kData && error.why() != Failure::kDisk) throw;
      if (was_deleted(io, path, folder)) continue;
      table.damage = error.what();
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

}  // namespace shoal

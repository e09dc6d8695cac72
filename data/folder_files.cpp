#include "data/folder_files.h"

#include <algorithm>
#include <array>
#include <system_error>

#include "autograd/base/check.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

enum Kind { kRun, kCheckpoint, kModel, kLink, kOther, kKinds };
constexpr std::array<const char*, kKinds> kNames = {
    "run(s) of this program", "checkpoint(s)", "folder(s) that hold a model",
    "link(s) to folders (name them beside it)", "file(s) that are no regular file"};

bool holds(const fs::path& folder, const char* name) {
  std::error_code ignored;
  return fs::exists(folder / name, ignored);
}

// What kind of folder that nobody means as text; kKinds: none. A run is known from its first
// instant on: the lock is made before anything else.
Kind kind_of_folder(const fs::path& folder) {
  if (holds(folder, "checkpoints") &&
      (holds(folder, "config.yaml") || holds(folder, "lock") || holds(folder, "metrics.jsonl"))) {
    return kRun;
  }
  if (holds(folder, "state.h5") && holds(folder, "manifest.json")) return kCheckpoint;
  if (!holds(folder, "config.json")) return kKinds;
  for (const char* weights : {"model.safetensors", "model.safetensors.index.json",
                              "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (holds(folder, weights)) return kModel;
  }
  return kKinds;
}

}  // namespace

FolderFiles files_below(const fs::path& folder) {
  FolderFiles out;
  std::array<std::vector<std::string>, kKinds> left_out;
  if (const Kind kind = kind_of_folder(folder); kind != kKinds) {
    reject(Failure::kData, folder.string(), ": is ",
           kind == kRun          ? "the folder of a run"
           : kind == kCheckpoint ? "a checkpoint"
                                 : "the folder of a model",
           ", not of texts; name the files to learn from");
  }
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    std::error_code ignored;
    const bool is_folder = entry->is_directory(ignored);
    Kind kind = kKinds;
    if (path.filename().string().starts_with('.')) {
      if (is_folder) entry.disable_recursion_pending();
      continue;
    }
    if (is_folder) {
      kind = entry->is_symlink(ignored) ? kLink : kind_of_folder(path);
      if (kind != kKinds) entry.disable_recursion_pending();
    } else if (entry->is_regular_file(ignored)) {
      out.files.push_back(path);
    } else {
      kind = kOther;
    }
    if (kind != kKinds) left_out[kind].push_back(path.string());
  }
  if (error) reject(Failure::kData, folder.string(), ": cannot be read: ", error.message());
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    if (left_out[kind].empty()) continue;
    const auto first = std::min_element(left_out[kind].begin(), left_out[kind].end());
    out.left_out.push_back(concat(folder.string(), ": ", left_out[kind].size(), ' ', kNames[kind],
                                  " left out, such as ", *first));
  }
  std::sort(out.files.begin(), out.files.end(), [](const fs::path& a, const fs::path& b) {
    return a.generic_string() < b.generic_string();
  });
  return out;
}

}  // namespace shoal

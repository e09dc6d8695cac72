#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace shoal {

struct FolderFiles {
  std::vector<std::filesystem::path> files;  // in order of their paths' bytes, the same everywhere
  std::vector<std::string> left_out;         // what else there is, a sentence a kind
};

// The files of a folder and its subfolders that may hold text. Left out without a word: what is
// hidden (its name begins with a dot). Left out, and said: folders that this program wrote (runs,
// checkpoints) or exports (models), links to folders, what is neither file nor folder. Throws
// Error(kData) where the folder itself is one of those that are left out, or cannot be read.
FolderFiles files_below(const std::filesystem::path& folder);

}  // namespace shoal

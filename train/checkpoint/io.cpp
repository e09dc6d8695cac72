#include "train/checkpoint/io.h"

namespace shoal {

void remove_tree(Io& io, const std::string& path) {
  const auto entries = io.list(path, Links::kRefuse);
  if (!entries) return;
  for (const Io::Entry& entry : *entries) {
    const std::string inside = path + "/" + entry.name;
    if (entry.folder) {
      remove_tree(io, inside);
    } else {
      io.unlink(inside);
    }
  }
  io.rmdir(path);
}

}  // namespace shoal

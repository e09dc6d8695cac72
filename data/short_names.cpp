#include "data/short_names.h"

#include <algorithm>
#include <cstddef>
#include <map>

#include "autograd/base/check.h"

namespace shoal {
namespace {

// The last `parts` parts of a path; the whole where it has no more.
std::string end_of(const std::string& path, std::size_t parts) {
  std::size_t at = path.size();
  while (at > 1 && path[at - 1] == '/') --at;
  const std::size_t end = at;
  while (parts > 0 && at > 0) {
    at = path.rfind('/', at - 1);
    if (at == path.npos) return path.substr(0, end);
    --parts;
  }
  return at == 0 ? path.substr(0, end) : path.substr(at + 1, end - at - 1);
}

}  // namespace

std::vector<std::string> short_names(const std::vector<std::string>& paths) {
  std::vector<std::string> names(paths.size());
  std::vector<std::size_t> open(paths.size());  // without a name yet
  for (std::size_t i = 0; i < open.size(); ++i) open[i] = i;
  constexpr std::size_t kMostParts = 64;  // what differs in nothing but slashes would never end
  for (std::size_t parts = 1; !open.empty(); ++parts) {
    std::map<std::string, std::vector<std::size_t>> same;
    for (const std::size_t i : open) same[end_of(paths[i], parts)].push_back(i);
    open.clear();
    for (const auto& [name, who] : same) {
      const bool equal = parts == kMostParts ||
                         std::all_of(who.begin(), who.end(),
                                     [&](std::size_t i) { return paths[i] == paths[who[0]]; });
      for (std::size_t n = 0; n < who.size(); ++n) {
        if (!equal) {
          open.push_back(who[n]);
        } else {
          names[who[n]] = n == 0 ? name : concat(name, " (", n + 1, ')');
        }
      }
    }
  }
  return names;
}

}  // namespace shoal

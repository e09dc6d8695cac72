#include "train/config/document/suggest.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>

namespace shoal {

int edit_distance(const std::string& a, const std::string& b, int limit) {
  const auto m = static_cast<int>(std::min<std::size_t>(a.size(), 1000));
  const auto n = static_cast<int>(std::min<std::size_t>(b.size(), 1000));
  if (std::abs(m - n) > limit || a.size() > 1000 || b.size() > 1000) return limit + 1;
  const auto at = [](const std::string& s, int i) { return s[static_cast<std::size_t>(i)]; };
  const auto width = static_cast<std::size_t>(n) + 1;
  std::vector<int> before(width), above(width), row(width);
  for (int j = 0; j <= n; ++j) above[static_cast<std::size_t>(j)] = j;
  for (int i = 1; i <= m; ++i) {
    row[0] = i;
    for (int j = 1; j <= n; ++j) {
      const auto J = static_cast<std::size_t>(j);
      const bool same = at(a, i - 1) == at(b, j - 1);
      row[J] = std::min({above[J] + 1, row[J - 1] + 1, above[J - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && at(a, i - 1) == at(b, j - 2) && at(a, i - 2) == at(b, j - 1)) {
        row[J] = std::min(row[J], before[J - 2] + 1);
      }
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return std::min(above[static_cast<std::size_t>(n)], limit + 1);
}

std::optional<std::string> suggest(const std::string& word, const std::vector<std::string>& known) {
  std::optional<std::string> best;
  for (const std::string& candidate : known) {  // "sliding" is short for one of them
    if (word.size() >= 3 && candidate.compare(0, word.size(), word) == 0) return candidate;
  }
  int best_distance = 0;
  for (const std::string& candidate : known) {
    const int limit = std::max(1, static_cast<int>(candidate.size()) / 3);
    const int distance = edit_distance(word, candidate, limit);
    if (distance > limit || (best && distance >= best_distance)) continue;
    best = candidate;
    best_distance = distance;
  }
  return best;
}

}  // namespace shoal

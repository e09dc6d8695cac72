#include "train/config/document/problems.h"

#include <algorithm>
#include <limits>
#include <tuple>

namespace shoal {
namespace {

// A file that is no configuration at all would otherwise fill the screen.
constexpr std::size_t kShown = 50;

bool is_inside(const std::string& key, const std::string& map) {
  return key.size() > map.size() && key.compare(0, map.size(), map) == 0 && key[map.size()] == '.';
}

}  // namespace

void Problems::add_text(const Place& place, const std::string& key, const std::string& what) {
  std::string line = place.text() + ": ";
  const bool hide = !hidden_.empty() && key.compare(0, hidden_.size(), hidden_) == 0;
  if (!key.empty()) line += excerpt(hide ? key.substr(hidden_.size()) : key) + ": ";
  found_.push_back({place, line + what});
  keys_.insert(key);
}

bool Problems::touches(const std::string& key) const {
  return std::any_of(keys_.begin(), keys_.end(), [&](const std::string& said) {
    return said == key || is_inside(said, key) || is_inside(key, said);
  });
}

std::string Problems::text() const {
  std::vector<Problem> sorted = found_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
    const auto rank = [](const Place& p) {
      const int line = p.line > 0 ? p.line : std::numeric_limits<int>::max();  // the whole: last
      return std::make_tuple(p.source ? p.source->order : -1, line, p.column);
    };
    return rank(a.place) < rank(b.place);
  });
  std::string out;
  for (std::size_t i = 0; i < std::min(sorted.size(), kShown); ++i) {
    out += (i > 0 ? "\n" : "") + sorted[i].line;
  }
  if (sorted.size() > kShown) {
    out += concat("\nand ", sorted.size() - kShown, " more problems");
  }
  return out;
}

void Problems::throw_if_any(Failure why) const {
  if (!found_.empty()) reject(why, text());
}

}  // namespace shoal

#pragma once
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "autograd/base/check.h"
#include "train/config/document/document.h"

namespace shoal {

// Everything wrong with a configuration, said at once: one line
//   file:line:col: key: what is wrong; what would be right
// per problem, in the order of the files.
class Problems {
 public:
  // `hidden` begins every key and is not printed: the "model." of a config.json's keys.
  explicit Problems(std::string hidden = "") : hidden_(std::move(hidden)) {}

  // `key` may be empty: the problem is the file's.
  template <class... Detail>
  void add(const Place& place, const std::string& key, const Detail&... what) {
    add_text(place, key, concat(what...));
  }
  // Another key may have meant this one, whose value is not to be relied on then.
  void doubt(const std::string& key) { doubted_.insert(key); }
  bool empty() const { return found_.empty(); }
  // Was something said of this key, of a part of it, or of a map around it?
  bool touches(const std::string& key) const;
  bool doubts(const std::string& key) const { return doubted_.contains(key) || touches(key); }
  std::string text() const;
  void throw_if_any(Failure why) const;

 private:
  void add_text(const Place& place, const std::string& key, const std::string& what);

  std::string hidden_;
  struct Problem {
    Place place;
    std::string line;
  };
  std::vector<Problem> found_;
  std::set<std::string> keys_, doubted_;
};

}  // namespace shoal

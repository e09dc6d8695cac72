#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "train/config/document/document.h"
#include "train/config/document/problems.h"
#include "train/config/run_config.h"

namespace shoal {

// The values a number may take.
struct Bounds {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false, high_open = false;  // the end itself is outside

  bool holds(double value) const;
  std::string text() const;  // "from 1 to 8", "above 0", "any"
};

// As short as reads back to the same bits; whole numbers below 1e15 without a fraction.
std::string number_text(double value);

// Each of these turns a node into a value, or says what is wrong with it (as `key`) and gives none.
// Numbers: decimal, 20e6 is a whole number, no leading zeros, no underscores, no quotes, finite; a
// number that is not whole has to be one in single precision, too.
std::optional<std::int64_t> read_integer(const Node& node, const std::string& key,
                                         const Bounds& range, Problems& problems);
std::optional<std::uint64_t> read_seed(const Node& node, const std::string& key,
                                       Problems& problems);
std::optional<double> read_number(const Node& node, const std::string& key, const Bounds& range,
                                  Problems& problems);
// true and false only.
std::optional<bool> read_bool(const Node& node, const std::string& key, Problems& problems);
// Any scalar, as written; not empty, no NUL.
std::optional<std::string> read_text(const Node& node, const std::string& key, Problems& problems);
// Relative paths are relative to the working directory; the result is absolute, without a
// trailing slash.
std::optional<std::string> read_path(const Node& node, const std::string& key, Problems& problems);
std::string absolute_path(const std::string& path);
// "~" or "$HOME" in a path, which only a shell expands: what to say of it.
std::optional<std::string> find_shorthand(const std::string& path);
// The index of the name in `names`.
std::optional<std::size_t> read_choice(const Node& node, const std::string& key,
                                       const std::vector<std::string>& names, Problems& problems);
std::optional<std::vector<std::string>> read_texts(const Node& node, const std::string& key,
                                                   Problems& problems);
// Paths, or {path: P, weight: W}.
std::optional<std::vector<CorpusSpec>> read_corpora(const Node& node, const std::string& key,
                                                    Problems& problems);

}  // namespace shoal

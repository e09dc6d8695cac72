#include "train/config/schema/values.h"

#include <algorithm>
#include <cfloat>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <type_traits>

#include "train/config/document/suggest.h"
#include "train/config/schema/task_keys.h"

namespace shoal {
namespace {

constexpr std::size_t kMaxListItems = 10000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// What a number's text is called when it is none; nullopt: it may be one.
std::optional<std::string> wrong_spelling(const Node& node) {
  const std::string& text = node.text;
  const std::size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  if (node.quoted) return "is text; remove the quotes";
  if (text.size() > sign + 1 && text[sign] == '0' && is_digit(text[sign + 1])) {
    return "has a leading zero; write it without";
  }
  if (text.size() > sign + 1 && text[sign] == '0' && is_letter(text[sign + 1]) &&
      text[sign + 1] != 'e' && text[sign + 1] != 'E') {
    return "is not a decimal number; write it with the digits 0 to 9";
  }
  if (text.find('_') != std::string::npos && is_digit(text[sign])) {
    return "has an underscore; write the digits without";
  }
  return std::nullopt;
}

bool is_scalar(const Node& node, const std::string& key, const std::string& wanted,
               Problems& problems) {
  if (node.kind == Node::Kind::kScalar) return true;
  problems.add(node.place, key, "has ", describe(node), "; give ", wanted);
  return false;
}

template <class T>
std::errc parse(const std::string& text, T& value) {
  const char* begin = text.data() + (!text.empty() && text[0] == '+' ? 1 : 0);
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, value);
  return error != std::errc() ? error : stop != end ? std::errc::invalid_argument : std::errc();
}

// The number in a scalar, or the reason why there is none. T is a 64-bit integer or double.
template <class T>
std::optional<T> parse_number(const Node& node, const std::string& key, const std::string& wanted,
                              Problems& problems) {
  const auto refuse = [&](const std::string& what) {
    problems.add(node.place, key, describe(node), " ", what);
    return std::nullopt;
  };
  if (const auto wrong = wrong_spelling(node)) return refuse(*wrong);
  if constexpr (std::is_integral_v<T>) {
    T whole = 0;
    const std::errc result = parse(node.text, whole);
    if (result == std::errc()) return whole;
    if (result == std::errc::result_out_of_range) return refuse("is out of range; give " + wanted);
  }
  double value = 0;
  const std::errc result = parse(node.text, value);
  if (result == std::errc::result_out_of_range) {
    return refuse("is too large or too small for a double; give " + wanted);
  }
  if (result != std::errc()) {
    return refuse(
        concat("is not a ", std::is_integral_v<T> ? "whole " : "", "number; give ", wanted));
  }
  if (!std::isfinite(value)) return refuse(concat("is not finite; give ", wanted));
  if constexpr (!std::is_integral_v<T>) {
    // Models and optimizers compute with floats, where another number would be 0 or infinite.
    const double size = std::abs(value);
    if (size > FLT_MAX || (size > 0 && size < FLT_MIN)) {
      return refuse(
          concat("is too ", size < 1 ? "small" : "large", " for single precision; give ", wanted));
    }
  }
  if constexpr (std::is_integral_v<T>) {
    // 20e6 is whole; above 2^53 a double no longer says which whole number was meant.
    constexpr double kExact = 9007199254740992.0;
    if (value != std::floor(value)) return refuse("is not a whole number; give " + wanted);
    if (std::abs(value) > kExact || (std::is_unsigned_v<T> && value < 0)) {
      return refuse("is out of range; give " + wanted);
    }
  }
  return static_cast<T>(value);
}

std::string wanted_number(const std::string& what, const Bounds& range) {
  const std::string limits = range.text();
  return limits == "any" ? what : what + " " + limits;
}

std::string list_names(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) out += (i > 0 ? ", " : "") + names[i];
  return out;
}

bool is_list(const Node& node, const std::string& key, const std::string& wanted,
             Problems& problems) {
  if (node.kind != Node::Kind::kList) {
    problems.add(node.place, key, "has ", describe(node), "; give ", wanted);
    return false;
  }
  if (node.items.size() > kMaxListItems) {
    problems.add(node.place, key, node.items.size(), " entries; give at most ", kMaxListItems);
    return false;
  }
  return true;
}

std::optional<CorpusSpec> read_weighted_corpus(const Node& node, const std::string& key,
                                               Problems& problems) {
  CorpusSpec corpus;
  bool good = true;
  for (std::size_t i = 0; i < node.keys.size(); ++i) {
    const std::string& name = node.keys[i].text;
    if (name == "path") {
      const auto path = read_path(node.items[i], key + ".path", problems);
      good = good && path;
      if (path) corpus.path = *path;
    } else if (name == "weight") {
      const auto weight =
          read_number(node.items[i], key + ".weight", {.low = 0, .low_open = true}, problems);
      good = good && weight;
      if (weight) corpus.weight = *weight;
    } else {
      const auto meant = suggest(name, {"path", "weight"});
      problems.add(node.keys[i].place, key + "." + name,
                   meant ? concat("unknown key; did you mean '", *meant, "'?")
                         : "unknown key; known here: path, weight");
      good = false;
    }
  }
  if (good && corpus.path.empty()) {
    problems.add(node.place, key, "no path; give {path: FILE, weight: NUMBER}, or {task: NAME}");
    good = false;
  }
  return good ? std::optional(corpus) : std::nullopt;
}

}  // namespace

bool Bounds::holds(double value) const {
  return (low_open ? value > low : value >= low) && (high_open ? value < high : value <= high);
}

std::string Bounds::text() const {
  const bool has_low = std::isfinite(low), has_high = std::isfinite(high);
  const std::string below = (high_open ? "below " : "to ") + number_text(high);
  if (has_low && has_high) {
    return (low_open ? "above " : "from ") + number_text(low) + (high_open ? " and " : " ") + below;
  }
  if (has_low) return concat(low_open ? "above " : "from ", number_text(low));
  if (has_high) return high_open ? below : concat("up to ", number_text(high));
  return "any";
}

std::string number_text(double value) {
  const bool minus_zero = value == 0 && std::signbit(value);
  if (value == std::floor(value) && std::abs(value) < 1e15 && !minus_zero) {
    return std::to_string(static_cast<std::int64_t>(value));
  }
  return nlohmann::json(value).dump();
}

std::optional<std::int64_t> read_integer(const Node& node, const std::string& key,
                                         const Bounds& range, Problems& problems) {
  const std::string wanted = wanted_number("a whole number", range);
  if (!is_scalar(node, key, wanted, problems)) return std::nullopt;
  const auto value = parse_number<std::int64_t>(node, key, wanted, problems);
  if (value && !range.holds(static_cast<double>(*value))) {
    problems.add(node.place, key, node.text, " is out of range; give ", wanted);
    return std::nullopt;
  }
  return value;
}

std::optional<std::uint64_t> read_seed(const Node& node, const std::string& key,
                                       Problems& problems) {
  const std::string wanted = "a whole number from 0 to 18446744073709551615";
  if (!is_scalar(node, key, wanted, problems)) return std::nullopt;
  return parse_number<std::uint64_t>(node, key, wanted, problems);
}

std::optional<double> read_number(const Node& node, const std::string& key, const Bounds& range,
                                  Problems& problems) {
  const std::string wanted = wanted_number("a number", range);
  if (!is_scalar(node, key, wanted, problems)) return std::nullopt;
  const auto value = parse_number<double>(node, key, wanted, problems);
  if (value && !range.holds(*value)) {
    problems.add(node.place, key, node.text, " is out of range; give ", wanted);
    return std::nullopt;
  }
  return value;
}

std::optional<bool> read_bool(const Node& node, const std::string& key, Problems& problems) {
  if (!is_scalar(node, key, "true or false", problems)) return std::nullopt;
  if (!node.quoted && node.text == "true") return true;
  if (!node.quoted && node.text == "false") return false;
  std::string lower = node.text;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  std::string hint = "write true or false";
  for (const char* word : {"yes", "on", "y", "true", "1"}) {
    if (lower == word) hint = "write true";
  }
  for (const char* word : {"no", "off", "n", "false", "0"}) {
    if (lower == word) hint = "write false";
  }
  problems.add(node.place, key, describe(node), " is not true or false; ", hint,
               (node.quoted ? ", without quotes" : ""));
  return std::nullopt;
}

std::optional<std::string> read_text(const Node& node, const std::string& key, Problems& problems) {
  if (!is_scalar(node, key, "text", problems)) return std::nullopt;
  if (node.text.empty()) {
    problems.add(node.place, key, "is empty; give text, or remove the key for its default");
    return std::nullopt;
  }
  if (node.text.find('\0') != std::string::npos) {
    problems.add(node.place, key, "contains a zero byte; remove it");
    return std::nullopt;
  }
  return node.text;
}

std::string absolute_path(const std::string& path) {
  std::string text = std::filesystem::absolute(path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

std::optional<std::string> find_shorthand(const std::string& path) {
  const auto explained = [](std::string_view what) {
    return concat("'", excerpt(std::string(what)),
                  "' is not expanded here, only by a shell; write the path out");
  };
  const std::size_t slash = path.find('/');
  if (path == "~" || (path.starts_with("~") && slash != path.npos)) {
    return explained(std::string_view(path).substr(0, slash));
  }
  for (std::size_t at = path.find('$'); at != path.npos; at = path.find('$', at + 1)) {
    const auto is_name = [&](char c) { return is_letter(c) || c == '_'; };
    std::size_t end = at + 1;
    if (end < path.size() && path[end] == '{') {
      end = std::min(path.find('}', end), path.size() - 1) + 1;
    } else {
      if (end == path.size() || !is_name(path[end])) continue;
      while (end < path.size() && (is_name(path[end]) || is_digit(path[end]))) ++end;
    }
    // A file may have such a name.
    std::error_code ignored;
    const std::string up_to = path.substr(0, path.find('/', at));
    if (!std::filesystem::exists(up_to, ignored)) {
      return explained(std::string_view(path).substr(at, end - at));
    }
  }
  return std::nullopt;
}

std::optional<std::string> read_path(const Node& node, const std::string& key, Problems& problems) {
  const auto text = read_text(node, key, problems);
  if (!text) return std::nullopt;
  if (const auto shorthand = find_shorthand(*text)) {
    problems.add(node.place, key, describe(node), ": ", *shorthand);
    return std::nullopt;
  }
  return absolute_path(*text);
}

std::optional<std::size_t> read_choice(const Node& node, const std::string& key,
                                       const std::vector<std::string>& names, Problems& problems) {
  if (!is_scalar(node, key, concat("one of ", list_names(names)), problems)) return std::nullopt;
  const auto found = std::find(names.begin(), names.end(), node.text);
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  const auto meant = suggest(node.text, names);
  problems.add(
      node.place, key, describe(node), " is not known; ",
      (meant ? concat("did you mean '", *meant, "'?") : concat("use one of ", list_names(names))));
  return std::nullopt;
}

std::optional<std::vector<std::string>> read_texts(const Node& node, const std::string& key,
                                                   Problems& problems) {
  if (!is_list(node, key, "a list, [\"...\", \"...\"]", problems)) return std::nullopt;
  std::vector<std::string> texts;
  for (const Node& item : node.items) {
    if (auto text = read_text(item, key, problems)) texts.push_back(std::move(*text));
  }
  if (texts.size() != node.items.size()) return std::nullopt;
  return texts;
}

std::optional<std::vector<CorpusSpec>> read_corpora(const Node& node, const std::string& key,
                                                    Problems& problems) {
  if (!is_list(node, key, "a list of paths, such as [corpora/kjv.txt]", problems)) {
    return std::nullopt;
  }
  std::vector<CorpusSpec> corpora;
  for (const Node& item : node.items) {
    if (item.kind == Node::Kind::kMap && item.find("task") != nullptr) {
      if (node.items.size() > 1) {
        problems.add(item.place, key, "a task cannot be mixed with other data; let it stand alone");
      } else if (auto task = read_task(item, key, problems)) {
        corpora.push_back({"", 1.0, *task});
      }
    } else if (item.kind == Node::Kind::kMap) {
      if (auto corpus = read_weighted_corpus(item, key, problems)) corpora.push_back(*corpus);
    } else if (auto path = read_path(item, key, problems)) {
      corpora.push_back({*path});
    }
  }
  if (corpora.size() != node.items.size()) return std::nullopt;
  return corpora;
}

}  // namespace shoal

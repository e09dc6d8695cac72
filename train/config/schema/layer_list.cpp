#include "train/config/schema/layer_list.h"

#include <utility>

namespace shoal {
namespace {

constexpr int kDeepest = 8;  // groups inside groups
constexpr const char* kExample = "write a list such as [window x2, (csa, hca) x4]";

struct Token {
  std::string text;  // a word, "(", ")" or ","; "": the end
  Place place;
};

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-';
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

class ListParser {
 public:
  ListParser(const std::string& key, std::size_t most, Problems& problems)
      : key_(key), most_(most), problems_(problems) {}

  std::optional<LayerList> read(const Node& node) {
    if (!take_tokens(node)) return std::nullopt;
    if (node.kind == Node::Kind::kList && node.items.empty()) return LayerList();
    tokens_.push_back({"", node.place});
    if (!list(0)) return std::nullopt;
    if (!here().text.empty()) {
      fail(here().text == ")" ? "')' without a '('" : concat("',' is missing before ", shown()));
      return std::nullopt;
    }
    return std::move(out_);
  }

 private:
  bool take_tokens(const Node& node) {
    if (node.kind == Node::Kind::kScalar) return take_text(node);
    if (node.kind != Node::Kind::kList) {
      problems_.add(node.place, key_, "has ", describe(node), "; ", kExample);
      return false;
    }
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const Node& item = node.items[i];
      if (i > 0) tokens_.push_back({",", item.place});
      if (item.kind != Node::Kind::kScalar) {
        problems_.add(item.place, key_, "has ", describe(item), " inside; ", kExample);
        return false;
      }
      if (!take_text(item)) return false;
    }
    return true;
  }

  bool take_text(const Node& node) {
    const std::string& text = node.text;
    for (std::size_t at = 0; at < text.size();) {
      const char c = text[at];
      const std::size_t begin = at++;
      if (c == ' ' || c == '\t' || c == '\n') continue;
      if (is_word(c)) {
        while (at < text.size() && is_word(text[at])) ++at;
      } else if (c != '(' && c != ')' && c != ',') {
        problems_.add(node.place, key_, describe(node), " is not understood; ", kExample);
        return false;
      }
      tokens_.push_back({text.substr(begin, at - begin), node.place});
    }
    return true;
  }

  const Token& here() const { return tokens_[at_]; }
  std::string shown() const {
    return here().text.empty() ? "the end" : concat('\'', excerpt(here().text), '\'');
  }
  bool fail(const std::string& what) {
    problems_.add(here().place, key_, what, "; ", kExample);
    return false;
  }

  bool list(int depth) {
    for (;; ++at_) {
      if (!item(depth)) return false;
      if (here().text != ",") return true;
    }
  }

  bool item(int depth) {
    const std::size_t first = out_.order.size();
    const std::string& text = here().text;
    if (text == "(") {
      if (depth == kDeepest) return fail("groups are nested too deep");
      ++at_;
      if (!list(depth + 1)) return false;
      if (here().text != ")") return fail(concat("a ')' is missing before ", shown()));
    } else if (text.empty() || text == ")" || text == ",") {
      return fail(concat("a name is missing before ", shown()));
    } else {
      if (out_.order.size() == most_) return too_many();
      out_.order.push_back(out_.names.size());
      out_.names.push_back(scalar(text, here().place, false));
    }
    ++at_;
    return repeat(first);
  }

  // xN, also as two words.
  bool repeat(std::size_t first) {
    std::string times = here().text;
    if (!times.starts_with('x')) return true;
    times.erase(0, 1);
    if (times.empty() && is_number(tokens_[at_ + 1].text)) times = tokens_[++at_].text;
    if (!is_number(times)) return true;  // a name that begins with x: ',' is missing
    // Five digits are above every limit.
    const std::size_t n = times.size() > 5 ? most_ + 1 : std::stoul(times);
    if (n == 0) return fail("x0 is no layer at all");
    const std::size_t length = out_.order.size() - first;
    if (n > most_ / length || first + n * length > most_) return too_many();
    for (std::size_t copy = 1; copy < n; ++copy) {
      for (std::size_t i = 0; i < length; ++i) out_.order.push_back(out_.order[first + i]);
    }
    ++at_;
    return true;
  }

  bool too_many() {
    problems_.add(here().place, key_, "more than ", most_, " layers; give at most ", most_);
    return false;
  }

  const std::string& key_;
  std::size_t most_;
  Problems& problems_;
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  LayerList out_;
};

}  // namespace

std::optional<LayerList> read_layer_list(const Node& node, const std::string& key, std::size_t most,
                                         Problems& problems) {
  return ListParser(key, most, problems).read(node);
}

}  // namespace shoal

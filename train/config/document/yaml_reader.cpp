#include "train/config/document/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "autograd/base/utf8.h"

namespace shoal {
namespace {

constexpr std::size_t kMaxDepth = 32;
constexpr std::size_t kMaxKeys = 1000;  // of one map: looking up and merging are linear

// Ends yaml-cpp's walk: the rest of the document would only repeat the problem.
struct GiveUp {};

// yaml-cpp guesses UTF-16 from zero bytes and takes any other byte as it is.
bool check_characters(const std::string& text, const std::shared_ptr<const Source>& source,
                      Problems& problems) {
  const std::size_t invalid = find_invalid_utf8(text);
  Place place{source, 1, 1};
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (i == invalid) {
      problems.add(place, "", "not UTF-8 text; save the file as UTF-8");
      return false;
    }
    if (byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t') {
      problems.add(place, "", "a control character; remove it, or write it as \"\\x..\" in quotes");
      return false;
    }
    place.line += byte == '\n' ? 1 : 0;
    place.column = byte == '\n' ? 1 : place.column + 1;
  }
  return true;
}

// 1-based; 0: none.
int line_indented_by_tab(const std::string& text) {
  int line = 1;
  bool indents = true;
  for (const char c : text) {
    if (c == '\t' && indents) return line;
    indents = c == '\n' || (indents && c == ' ');
    line += c == '\n' ? 1 : 0;
  }
  return 0;
}

// Builds the tree from yaml-cpp's events, which (unlike its nodes) still show anchors and tags,
// and are never expanded: an alias is one event, whatever it stands for.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& text, const std::shared_ptr<const Source>& source,
              Problems& problems)
      : text_(text), source_(source), problems_(problems) {
    marks_start_ = text.compare(0, 3, "\xEF\xBB\xBF") == 0 ? 3 : 0;
  }

  Node take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ == 1) return;
    problems_.add(place(mark), "", "a second document begins; one file holds one configuration");
    throw GiveUp{};
  }
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    problems_.add(place(mark), path(), "anchor '&", excerpt(name),
                  "' is not supported; write the value out");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    const bool said = !levels_.empty() && levels_.back().has_key && levels_.back().dropped;
    if (!said) {
      problems_.add(place(mark), path(),
                    "an alias ('*name') is not supported; write the value out");
    }
    put(leaf(Node::Kind::kNull, mark));
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    put(leaf(Node::Kind::kNull, mark));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                const std::string& value) override {
    Node node = leaf(Node::Kind::kScalar, mark);
    node.text = value;
    node.quoted = tag != "?";  // "!" is how the parser marks quotes
    check_tag(mark, tag);
    if (tag == "!") check_quotes(mark);
    put(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                       YAML::EmitterStyle::value /*style*/) override {
    check_tag(mark, tag);
    open(leaf(Node::Kind::kList, mark));
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                  YAML::EmitterStyle::value /*style*/) override {
    check_tag(mark, tag);
    open(leaf(Node::Kind::kMap, mark));
  }
  void OnMapEnd() override { close(); }

 private:
  struct Level {
    Node node;
    std::map<std::string, Place> seen;
    bool has_key = false;  // of a map: the key was read, the value comes next
    Node::Key key;
    bool dropped = false;  // a duplicate's or a merge key's value
  };

  Place place(const YAML::Mark& mark) const {
    return {source_, std::max(mark.line, 0) + 1, std::max(mark.column, 0) + 1};
  }
  Node leaf(Node::Kind kind, const YAML::Mark& mark) const {
    Node node;
    node.kind = kind;
    node.place = place(mark);
    return node;
  }
  // The dotted path of where the reading stands.
  std::string path() const {
    std::string out;
    for (const Level& level : levels_) {
      if (!level.has_key) continue;
      out += (out.empty() ? "" : ".") + level.key.text;
    }
    return out;
  }
  void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    problems_.add(place(mark), path(), "tag '", excerpt(tag), "' is not supported; remove it");
  }

  // At the end of the text yaml-cpp takes an open quote for closed.
  void check_quotes(const YAML::Mark& mark) {
    std::size_t i = marks_start_ + static_cast<std::size_t>(std::max(mark.pos, 0));
    const char quote = i < text_.size() ? text_[i] : '\0';
    if (quote == '!') {
      problems_.add(place(mark), path(), "tag '!' is not supported; remove it");
      return;
    }
    if (quote != '"' && quote != '\'') return;
    for (++i; i < text_.size(); ++i) {
      if (quote == '"' && text_[i] == '\\') {
        ++i;
      } else if (text_[i] == quote) {
        if (quote == '"' || i + 1 >= text_.size() || text_[i + 1] != quote) return;
        ++i;  // '' inside single quotes
      }
    }
    problems_.add(place(mark), path(), "not valid YAML (a quote that is never closed); close it");
    throw GiveUp{};
  }

  void open(Node node) {
    if (levels_.size() >= kMaxDepth) {
      problems_.add(node.place, "", "nested deeper than ", kMaxDepth,
                    " levels; a configuration needs no more than five");
      throw GiveUp{};
    }
    if (expects_key()) {
      problems_.add(node.place, path(), "a key must be a plain word, found ", describe(node),
                    "; put it in quotes, or close its bracket");
      throw GiveUp{};
    }
    levels_.emplace_back();
    levels_.back().node = std::move(node);
  }
  void close() {
    Node node = std::move(levels_.back().node);
    levels_.pop_back();
    put(std::move(node));
  }
  bool expects_key() const {
    return !levels_.empty() && levels_.back().node.kind == Node::Kind::kMap &&
           !levels_.back().has_key;
  }

  void put(Node node) {
    if (levels_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& level = levels_.back();
    if (level.node.kind == Node::Kind::kList) {
      level.node.items.push_back(std::move(node));
    } else if (!level.has_key) {
      put_key(level, node);
    } else {
      if (!level.dropped) {
        // The parser notices a missing value at the next word, often lines below.
        if (node.kind == Node::Kind::kNull) node.place = level.key.place;
        level.node.keys.push_back(level.key);
        level.node.items.push_back(std::move(node));
      }
      level.has_key = false;
    }
  }
  void put_key(Level& level, const Node& node) {
    const std::string around = path();
    level.key = {node.kind == Node::Kind::kScalar ? node.text : "~", node.place};
    level.has_key = true;
    level.dropped = true;
    const std::string here = around + (around.empty() ? "" : ".") + level.key.text;
    const auto [first, is_new] = level.seen.emplace(level.key.text, node.place);
    if (node.kind != Node::Kind::kScalar) {
      problems_.add(node.place, around, "a key must be a plain word, found ", describe(node));
    } else if (level.key.text == "<<") {
      problems_.add(node.place, around,
                    "merge keys ('<<') are not supported; put the shared part into another file "
                    "and name it with 'extends: other.yaml' at the top");
    } else if (!is_new) {
      problems_.add(node.place, here, "given twice, first in line ", first->second.line,
                    "; keep one of them");
    } else {
      level.dropped = false;
    }
    if (level.seen.size() > kMaxKeys) {
      problems_.add(node.place, around, "a map of more than ", kMaxKeys,
                    " keys; a configuration has about a hundred");
      throw GiveUp{};
    }
  }

  const std::string& text_;
  std::size_t marks_start_ = 0;  // marks count from behind a byte order mark
  std::shared_ptr<const Source> source_;
  Problems& problems_;
  Node root_;
  std::vector<Level> levels_;
  int documents_ = 0;
};

}  // namespace

std::optional<Node> read_yaml(const std::string& text, const std::shared_ptr<const Source>& source,
                              Problems& problems, std::size_t max_bytes) {
  if (text.size() > max_bytes) {
    problems.add({source, 0, 0}, "", "longer than ", max_bytes, " bytes; no configuration is");
    return std::nullopt;
  }
  if (!check_characters(text, source, problems)) return std::nullopt;
  TreeBuilder builder(text, source, problems);
  try {
    std::istringstream in(text);
    YAML::Parser parser(in);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const GiveUp&) {
    return std::nullopt;
  } catch (const YAML::Exception& error) {
    if (const int line = line_indented_by_tab(text)) {
      problems.add({source, line, 1}, "", "not valid YAML (a tab indents this line); use spaces");
      return std::nullopt;
    }
    const Place place{source, std::max(error.mark.line, 0) + 1, std::max(error.mark.column, 0) + 1};
    problems.add(place, "", "not valid YAML (", excerpt(error.msg, 100),
                 "); check indentation, colons, quotes and brackets around here");
    return std::nullopt;
  }
  Node root = builder.take_root();
  if (!root.place.source) root.place = {source, 1, 1};
  return root;
}

}  // namespace shoal

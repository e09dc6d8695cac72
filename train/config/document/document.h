#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace shoal {

// Where configuration text came from: a file, or one `key=value` of the command line.
struct Source {
  std::string name;       // as the user typed it; for an argument: argument 'key=value'
  int order = 0;          // errors are listed in this order
  bool has_lines = true;  // an argument has none, a config.json's are not tracked
};

struct Place {
  std::shared_ptr<const Source> source;
  int line = 0, column = 0;  // 1-based; 0: the source as a whole

  std::string text() const;       // file:line:col
  std::string line_text() const;  // file:line
};

// A document as a tree that remembers where everything stood. Scalars stay text until the schema
// says what they should be.
struct Node {
  enum class Kind { kNull, kScalar, kList, kMap };
  struct Key {
    std::string text;
    Place place;
  };

  Kind kind = Kind::kNull;
  std::string text;     // of a scalar
  bool quoted = false;  // "5" is text, 5 is a number
  Place place;
  std::vector<Node> items;  // of a list or a map
  std::vector<Key> keys;    // of a map: keys[i] names items[i]

  const Node* find(const std::string& key) const;
  Node* find(const std::string& key);
  Node& set(const Key& key, Node value);  // replaces or appends
  bool erase(const std::string& key);
};

Node scalar(const std::string& text, const Place& place, bool quoted);

// Maps merge key by key, everything else is replaced; an empty value leaves a map as it is.
void merge(Node& into, Node over);

// "a list", "no value", "'text'": how an error names what it found.
std::string describe(const Node& node);

// A text from a file for one line of output: control characters escaped, at most `limit` bytes.
std::string excerpt(const std::string& text, std::size_t limit = 60);

}  // namespace shoal

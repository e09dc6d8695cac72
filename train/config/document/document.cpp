#include "train/config/document/document.h"

#include <utility>

#include "autograd/base/check.h"

namespace shoal {

std::string Place::text() const {
  if (!source) return "configuration";
  if (!source->has_lines || line == 0) return source->name;
  return concat(source->name, ':', line, ':', column);
}

std::string Place::line_text() const {
  if (!source) return "configuration";
  if (!source->has_lines || line == 0) return source->name;
  return concat(source->name, ':', line);
}

const Node* Node::find(const std::string& key) const {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].text == key) return &items[i];
  }
  return nullptr;
}

Node* Node::find(const std::string& key) {
  return const_cast<Node*>(std::as_const(*this).find(key));
}

Node& Node::set(const Key& key, Node value) {
  if (Node* old = find(key.text)) return *old = std::move(value);
  keys.push_back(key);
  items.push_back(std::move(value));
  return items.back();
}

bool Node::erase(const std::string& key) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].text != key) continue;
    keys.erase(keys.begin() + static_cast<std::ptrdiff_t>(i));
    items.erase(items.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }
  return false;
}

void merge(Node& into, Node over) {
  if (into.kind == Node::Kind::kMap && over.kind == Node::Kind::kNull) return;
  if (into.kind != Node::Kind::kMap || over.kind != Node::Kind::kMap) {
    into = std::move(over);
    return;
  }
  for (std::size_t i = 0; i < over.keys.size(); ++i) {
    Node* old = into.find(over.keys[i].text);
    if (old != nullptr) {
      merge(*old, std::move(over.items[i]));
    } else {
      into.set(over.keys[i], std::move(over.items[i]));
    }
  }
}

std::string excerpt(const std::string& text, std::size_t limit) {
  static const char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    if (out.size() >= limit) {
      // Not in the middle of a character.
      while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80) {
        out.pop_back();
      }
      if (!out.empty() && (static_cast<unsigned char>(out.back()) & 0x80) != 0) out.pop_back();
      return out + "...";
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out += c;
    }
  }
  return out;
}

Node scalar(const std::string& text, const Place& place, bool quoted) {
  Node node;
  node.kind = Node::Kind::kScalar;
  node.text = text;
  node.quoted = quoted;
  node.place = place;
  return node;
}

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "no value";
    case Node::Kind::kScalar:
      return concat("'", excerpt(node.text), "'");
    case Node::Kind::kList:
      return "a list";
    case Node::Kind::kMap:
      return "a map";
  }
  return "something else";
}

}  // namespace shoal

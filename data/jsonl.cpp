#include <cstdint>
#include <cstring>

#include "autograd/base/check.h"
#include "autograd/base/utf8.h"
#include "data/lines.h"
#include "data/text_source.h"

namespace shoal {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::uint32_t code, std::string& out) {
  const auto add = [&out](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) return add(code);
  if (code < 0x800) {
    add(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      add(0xE0 | code >> 12);
    } else {
      add(0xF0 | code >> 18);
      add(0x80 | (code >> 12 & 0x3F));
    }
    add(0x80 | (code >> 6 & 0x3F));
  }
  add(0x80 | (code & 0x3F));
}

// One line that has to be one JSON value (RFC 8259). Keeps only the "text" of the outermost object:
// what else a line holds is checked and forgotten, numbers of any size and halves of surrogate
// pairs, which the RFC allows, included.
class JsonLine {
 public:
  explicit JsonLine(std::string_view line) : line_(line) {}

  // "" where the line is an object with one string "text"; else what is wrong.
  std::string read() {
    if (const std::size_t bad = find_invalid_utf8(line_); bad != kValidUtf8) {
      at_ = bad;
      return located("is not UTF-8 text");
    }
    if (!document()) return located("is not JSON: " + problem_);
    constexpr const char* kWanted = "; each line has to be an object such as {\"text\": \"...\"}";
    if (outermost_ != '{') return concat(" is JSON of type ", name_of(outermost_), kWanted);
    if (texts_ == 0) return concat(" has no \"text\"", kWanted);
    if (texts_ > 1) return " has more than one \"text\"";
    if (type_ != '"') {
      return concat(" \"text\" is of type ", name_of(type_), ", it has to be a string");
    }
    if (lone_at_ != kNowhere) {
      at_ = lone_at_;
      return located(concat("\"text\" holds ", line_.substr(lone_at_, 6),
                            ", half of a surrogate pair, which is no character"));
    }
    return "";
  }
  const std::string& text() const { return text_; }

 private:
  static constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

  std::string located(const std::string& what) const { return concat(at_ + 1, ": ", what); }
  static const char* name_of(char first) {
    return first == '{'                   ? "object"
           : first == '['                 ? "array"
           : first == '"'                 ? "string"
           : first == 'n'                 ? "null"
           : first == 't' || first == 'f' ? "boolean"
                                          : "number";
  }

  bool fail(std::string what) {
    problem_ = at_ < line_.size() ? std::move(what) : "the line ends too early";
    return false;
  }
  char peek() const { return at_ < line_.size() ? line_[at_] : '\0'; }
  void skip_blanks() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\r' || peek() == '\n') ++at_;
  }

  // The stack of open brackets is a string: a line of brackets costs as much memory as it has.
  bool document() {
    std::string open;
    for (;;) {
      skip_blanks();
      const char c = peek();
      if (open.empty()) outermost_ = c;
      const bool is_text = in_text_ && open.size() == 1 && open[0] == '{';
      if (is_text) type_ = c;
      if (c == '{' || c == '[') {
        ++at_;
        open += c;
        skip_blanks();
        if (peek() != (c == '{' ? '}' : ']')) {
          if (c == '{' && !key(open.size() == 1)) return false;
          continue;
        }
      } else if (!scalar(is_text ? &text_ : nullptr)) {
        return false;
      }
      // After a value, or before the end of something empty.
      for (skip_blanks(); !open.empty() && peek() == (open.back() == '{' ? '}' : ']');
           skip_blanks()) {
        ++at_;
        open.pop_back();
      }
      if (open.empty()) {
        return at_ == line_.size() || fail("something follows the value");
      }
      if (peek() != ',') {
        return fail(open.back() == '{' ? "',' or '}' is missing" : "',' or ']' is missing");
      }
      ++at_;
      skip_blanks();
      if (open.back() == '{' && !key(open == "{")) return false;
    }
  }

  bool key(bool outermost) {
    std::string name;
    if (peek() != '"') return fail("a key in quotes has to stand here");
    if (!string(outermost ? &name : nullptr, nullptr)) return false;
    if (outermost) {
      in_text_ = name == "text";
      texts_ += in_text_ ? 1 : 0;
    }
    skip_blanks();
    if (peek() != ':') return fail("':' is missing");
    ++at_;
    return true;
  }

  bool scalar(std::string* text) {
    const char c = peek();
    if (c == '"') {
      if (text != nullptr) text->clear();
      return string(text, text != nullptr ? &lone_at_ : nullptr);
    }
    if (c == '-' || is_digit(c)) return number();
    for (const std::string_view word : {"true", "false", "null"}) {
      if (!line_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return true;
    }
    return fail("a value has to stand here");
  }

  bool number() {
    if (peek() == '-') ++at_;
    if (peek() == '0') {
      ++at_;
    } else if (!digits()) {
      return false;
    }
    if (peek() == '.') {
      ++at_;
      if (!digits()) return false;
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (!digits()) return false;
    }
    return true;
  }
  bool digits() {
    if (!is_digit(peek())) return fail("a digit is missing");
    while (is_digit(peek())) ++at_;
    return true;
  }

  // A string's characters go to `out` where it is not null, the place of the first half of a
  // surrogate pair to `lone`.
  bool string(std::string* out, std::size_t* lone) {
    for (++at_;;) {
      const std::size_t begin = at_;
      while (at_ < line_.size() && line_[at_] != '"' && line_[at_] != '\\' &&
             static_cast<unsigned char>(line_[at_]) >= 0x20) {
        ++at_;
      }
      if (out != nullptr) out->append(line_.substr(begin, at_ - begin));
      if (at_ == line_.size()) return fail("");
      const char c = line_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (c != '\\') return fail("a control character has to be written as \\uXXXX");
      if (!escape(out, lone)) return false;
    }
  }

  bool escape(std::string* out, std::size_t* lone) {
    constexpr std::string_view kLetters = "\"\\/bfnrt", kMeaning = "\"\\/\b\f\n\r\t";
    const std::size_t begin = at_;
    ++at_;
    if (peek() != 'u') {
      const std::size_t letter = at_ < line_.size() ? kLetters.find(peek()) : kLetters.npos;
      if (letter == kLetters.npos) return fail("no such escape");
      ++at_;
      if (out != nullptr) *out += kMeaning[letter];
      return true;
    }
    std::uint32_t code = 0;
    if (!hex(code)) return false;
    if (code >= 0xD800 && code < 0xDC00 && line_.substr(at_).starts_with("\\u")) {
      const std::size_t second_at = at_++;
      std::uint32_t second = 0;
      if (!hex(second)) return false;
      if (second >= 0xDC00 && second < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
      } else {
        at_ = second_at;  // it stands for itself
      }
    }
    if (code >= 0xD800 && code < 0xE000) {
      if (lone != nullptr && *lone == kNowhere) *lone = begin;
      code = 0xFFFD;  // so that no key is taken for another
    }
    if (out != nullptr) append_utf8(code, *out);
    return true;
  }
  bool hex(std::uint32_t& code) {  // from the 'u' on
    ++at_;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = peek();
      const char lower = static_cast<char>(c | 0x20);
      if (!is_digit(c) && !(lower >= 'a' && lower <= 'f')) return fail("\\u needs four hex digits");
      code = code << 4 | static_cast<std::uint32_t>(is_digit(c) ? c - '0' : lower - 'a' + 10);
    }
    return true;
  }

  std::string_view line_;
  std::size_t at_ = 0, lone_at_ = kNowhere;
  bool in_text_ = false;  // the last key of the outermost object was "text"
  int texts_ = 0;
  char outermost_ = '\0', type_ = '\0';  // first characters of values
  std::string text_, problem_;
};

}  // namespace

void split_jsonl(std::string_view lines, const std::string& name, const TakeDocument& take) {
  lines = without_byte_order_mark(lines);
  for (std::int64_t number = 1; !lines.empty(); ++number) {
    const std::string_view line = next_line(lines);
    if (is_blank(line)) continue;
    JsonLine reader(line);
    const std::string problem = reader.read();
    if (!problem.empty()) reject(Failure::kData, name, ':', number, ":", problem);
    take(reader.text());
  }
}

bool looks_like_jsonl(std::string_view text) {
  text = without_byte_order_mark(text);
  while (!text.empty()) {
    const std::string_view line = next_line(text);
    if (is_blank(line)) continue;
    const std::size_t first = line.find_first_not_of(" \t");
    return line[first] == '{' && JsonLine(line).read().empty();
  }
  return false;
}

}  // namespace shoal

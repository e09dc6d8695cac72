#include <nlohmann/json.hpp>

#include "autograd/base/check.h"
#include "data/lines.h"
#include "data/text_source.h"

namespace shoal {
namespace {

// Hears the events of one line and keeps only the "text" of the outermost object: what else a line
// holds, however deep, costs no memory.
class TextOfLine final : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("boolean"); }
  bool number_integer(number_integer_t) override { return value("number"); }
  bool number_unsigned(number_unsigned_t) override { return value("number"); }
  bool number_float(number_float_t, const string_t&) override { return value("number"); }
  bool binary(binary_t&) override { return value("binary"); }
  bool string(string_t& text) override {
    if (is_text()) text_ = std::move(text);
    return value("string");
  }
  bool start_object(std::size_t) override { return value("object") && ++depth_ > 0; }
  bool start_array(std::size_t) override { return value("array") && ++depth_ > 0; }
  bool end_object() override { return depth_-- > 0; }
  bool end_array() override { return depth_-- > 0; }
  bool key(string_t& key) override {
    if (depth_ != 1) return true;
    in_text_ = key == "text";
    texts_ += in_text_ ? 1 : 0;
    return true;
  }
  // Also called for numbers beyond the range of double.
  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    const std::string_view what = error.what();
    const std::size_t code = what.find("] ");  // of the library's own numbering
    const std::string_view reason = code == what.npos ? what : what.substr(code + 2);
    // The token that was read last may be as long as the file.
    problem_ = concat("is not JSON: ", reason.substr(0, reason.find("; last read")));
    return false;
  }

  // "" where the line was an object with one string "text".
  std::string problem() const {
    constexpr const char* kWanted = "; each line has to be an object such as {\"text\": \"...\"}";
    if (!problem_.empty()) return problem_;
    if (outermost_ != "object") return concat("is JSON of type ", outermost_, kWanted);
    if (texts_ == 0) return concat("has no \"text\"", kWanted);
    if (texts_ > 1) return "has more than one \"text\"";
    if (type_ != "string") return concat("\"text\" is of type ", type_, ", it has to be a string");
    return "";
  }
  const std::string& text() const { return text_; }

 private:
  bool is_text() const { return depth_ == 1 && in_text_; }
  bool value(std::string_view type) {
    if (depth_ == 0) outermost_ = type;
    if (is_text()) type_ = type;
    return true;
  }

  std::int64_t depth_ = 0;
  bool in_text_ = false;  // the last key of the outermost object was "text"
  int texts_ = 0;
  std::string_view outermost_, type_;
  std::string text_, problem_;
};

}  // namespace

void split_jsonl(std::string_view lines, const std::string& name, const TakeDocument& take) {
  lines = without_byte_order_mark(lines);
  for (std::int64_t number = 1; !lines.empty(); ++number) {
    const std::string_view line = next_line(lines);
    if (is_blank(line)) continue;
    TextOfLine reader;
    nlohmann::json::sax_parse(line.begin(), line.end(), &reader);
    const std::string problem = reader.problem();
    if (!problem.empty()) reject(Failure::kData, name, ':', number, ": ", problem);
    take(reader.text());
  }
}

}  // namespace shoal

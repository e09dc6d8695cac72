#include "train/config/schema/yaml_text.h"

#include <algorithm>

#include "train/config/schema/values.h"

namespace shoal {
namespace {

bool is_plain_word(const std::string& text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const bool plain =
      !text.empty() && (letter(text[0]) || text[0] == '/') &&
      std::all_of(text.begin(), text.end(), [&](char c) {
        return letter(c) || (c >= '0' && c <= '9') || c == '/' || c == '.' || c == '_' || c == '-';
      });
  if (!plain) return false;
  for (const char* word : {"null", "Null", "NULL", "true", "false", "yes", "no", "on", "off"}) {
    if (text == word) return false;
  }
  return true;
}

}  // namespace

std::string yaml_text(const nlohmann::json& value) {
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    return is_plain_word(text) ? text : value.dump();
  }
  if (value.is_number_float()) return number_text(value.get<double>());
  if (!value.is_structured()) return value.dump();
  std::string out;
  for (const auto& [name, item] : value.items()) {
    out += out.empty() ? "" : ", ";
    out += (value.is_object() ? name + ": " : "") + yaml_text(item);
  }
  return value.is_object() ? "{" + out + "}" : "[" + out + "]";
}

}  // namespace shoal

#include "autograd/base/check.h"

#include <array>
#include <cstdio>

namespace shoal {

TextPart::TextPart(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g", value);
  own_ = text.data();
}

std::string concat(std::initializer_list<TextPart> parts) {
  std::string all;
  for (const TextPart& part : parts) all += part.text();
  return all;
}

void check_failed(const char* file, int line, const char* expr,
                  std::initializer_list<TextPart> detail) {
  throw Error(concat(file, ':', line, ": check failed: ", expr, detail.size() > 0 ? ": " : "",
                     concat(detail)));
}

}  // namespace shoal

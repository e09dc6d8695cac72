#include "data/tokenizer/bytes.h"

#include <algorithm>

#include "autograd/base/check.h"

namespace shoal {

void ByteTokenizer::encode(std::string_view text, std::vector<std::int32_t>& out) const {
  const std::size_t old_size = out.size();
  out.resize(old_size + text.size());
  std::transform(text.begin(), text.end(), out.begin() + static_cast<std::ptrdiff_t>(old_size),
                 [](char c) { return kFirstByte + static_cast<unsigned char>(c); });
}

std::string ByteTokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string text;
  text.reserve(ids.size());
  for (const std::int32_t id : ids) {
    CHECK(id >= 0 && id < vocab_size(), "bytes: no id ", id);
    if (id >= kFirstByte) text += static_cast<char>(id - kFirstByte);
  }
  return text;
}

}  // namespace shoal

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "autograd/base/check.h"
#include "autograd/base/utf8.h"
#include "data/text_source.h"

namespace {

// Splits the bytes; whatever comes out has to be UTF-8 and no longer than the bytes.
template <class Split>
void split(const Split& split_bytes, std::string_view bytes, bool may_be_empty) {
  std::size_t total = 0;
  try {
    split_bytes(bytes, "fuzz", [&](std::string_view document) {
      if (document.empty() && !may_be_empty) std::abort();
      if (shoal::find_invalid_utf8(document) != shoal::kValidUtf8) std::abort();
      total += document.size();
    });
  } catch (const shoal::Error& error) {
    if (error.why() != shoal::Failure::kData) std::abort();
  }
  if (total > bytes.size()) std::abort();  // no escape is shorter than what it stands for
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  split(shoal::split_jsonl, bytes, true);
  split(shoal::split_text, bytes, false);
  return 0;
}

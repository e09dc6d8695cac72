#include <cstdint>
#include <cstdlib>
#include <string>

#include "autograd/base/check.h"
#include "data/token_file.h"
#include "data/tokenizer/bytes.h"

namespace {

// What was accepted must be usable: every document in bounds and bos, text, eos.
void parse(const std::string& bytes) {
  const shoal::ByteTokenizer tokenizer;
  shoal::Documents out;
  try {
    shoal::parse_token_file(bytes, "fuzz.tokens", tokenizer, out);
  } catch (const shoal::Error& error) {
    if (error.why() != shoal::Failure::kData || out.count() != 0) std::abort();
    return;
  }
  for (std::int64_t d = 0; d < out.count(); ++d) {
    const auto ids = out.document(d);
    if (ids.front() != tokenizer.bos() || ids.back() != tokenizer.eos()) std::abort();
    if (tokenizer.decode(ids).size() + 2 != ids.size()) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  parse(bytes);
  // No fuzzer guesses a SHA-256: with the right one, what lies behind that check is reached too.
  if (size >= shoal::kTokenFileHeader) {
    bytes.replace(shoal::kTokenFileDigest, 32, shoal::token_file_digest(bytes));
    parse(bytes);
  }
  return 0;
}

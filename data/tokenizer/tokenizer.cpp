#include "data/tokenizer/tokenizer.h"

#include "autograd/base/check.h"
#include "data/tokenizer/bytes.h"

namespace shoal {

std::unique_ptr<Tokenizer> make_tokenizer(const std::string& spec) {
  if (spec == "bytes") return std::make_unique<ByteTokenizer>();
  reject(Failure::kUsage, "data.tokenizer: ", spec,
         ": tokenizer files cannot be read yet; write data.tokenizer: bytes");
}

}  // namespace shoal

#include "data/documents.h"

namespace shoal {

void Documents::add(std::string_view text, const Tokenizer& tokenizer) {
  tokens.push_back(tokenizer.bos());
  tokenizer.encode(text, tokens);
  tokens.push_back(tokenizer.eos());
  close();
}

}  // namespace shoal

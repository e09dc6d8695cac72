#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/token_file.h"

namespace shoal {

struct Prepared {
  TokenFileInfo file;
  std::vector<std::string> warnings;  // a sentence each
};

// Tokenizes the documents of `inputs` (paths as for read_documents) into the token file `out`, in
// an order that the seed shuffles. Throws Error(kUsage) where `out` exists or does not end in
// .tokens, Error(kData) for bad input, Error(kDisk) where it cannot be written.
Prepared prepare(const std::string& out, const std::vector<std::string>& inputs,
                 const Tokenizer& tokenizer, std::uint64_t seed);

}  // namespace shoal

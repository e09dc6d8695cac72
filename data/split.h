#pragma once
#include <cstdint>
#include <vector>

#include "data/documents.h"

namespace shoal {

struct Split {
  std::vector<std::int64_t> train, validation;  // documents, in their order
};

// Holds out round(share * count) documents: those whose text has the smallest hashes. The text
// alone decides, so the split depends neither on the order of documents, nor on the tokenizer, nor
// on a seed, and copies of a document stay together. Throws Error(kData), naming data.validation,
// where one of the two sides would be empty; share 0 holds out nothing.
Split hold_out(const Documents& documents, const Tokenizer& tokenizer, double share);

}  // namespace shoal

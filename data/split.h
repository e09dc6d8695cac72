#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/documents.h"

namespace shoal {

struct Split {
  std::vector<std::int64_t> train, validation;  // documents, in their order
};

// A number for each document that its text alone decides: no order, tokenizer, seed or machine.
std::vector<std::uint64_t> hash_texts(const Documents& documents, const Tokenizer& tokenizer);

// Holds out the documents whose hash lies in the first `share` of all possible hashes. So no
// document changes sides when others come or go, copies stay together, a larger share holds out the
// same documents and more; what came out varies around the share, the more the fewer there are.
// Throws Error(kData), naming data.validation and the nearest share that works, where one of the
// two sides would be empty; share 0 holds out nothing.
Split hold_out(std::span<const std::uint64_t> hashes, double share);

std::int64_t count_distinct(std::vector<std::uint64_t> hashes);

// A sentence where copies moved what is held out away from the share by more than half; else "".
std::string skew_by_copies(std::span<const std::uint64_t> hashes, const Split& split, double share);

}  // namespace shoal

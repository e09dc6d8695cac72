#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "data/documents.h"
#include "data/split.h"

namespace shoal {

// Sentences for `documents.warnings` where something counts more than once.

// Files that were read more than once, whatever they were called. The first `train_files` of
// documents.files are of data.train, the others of data.validation.
void warn_of_files_read_twice(Documents& documents, std::size_t train_files);
// Copies that skew the split, or else a fifth of the documents being copies.
void warn_of_copies(Documents& documents, std::span<const std::uint64_t> of_train,
                    const Split& split, double share);
// Documents of data.validation that are in data.train too, which has the first `train_count`.
void warn_of_overlap(Documents& documents, std::span<const std::uint64_t> hashes,
                     std::int64_t train_count);

}  // namespace shoal

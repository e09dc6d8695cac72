#include "data/split.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/check.h"
#include "autograd/base/rng.h"

namespace shoal {
namespace {

constexpr std::uint64_t kSplitKey = 0x73706c6974;  // any constant: runs are to hold out the same

}  // namespace

Split hold_out(const Documents& documents, const Tokenizer& tokenizer, double share) {
  CHECK(share >= 0.0 && share < 1.0, "hold_out: share ", share);
  Split split;
  const auto count = static_cast<std::size_t>(documents.count());
  std::vector<std::uint64_t> hashes(count);
  if (share > 0.0) {
    for (std::size_t d = 0; d < count; ++d) {
      const std::string text = tokenizer.decode(documents.document(static_cast<std::int64_t>(d)));
      hashes[d] = hash_bytes(text.data(), text.size(), kSplitKey);
    }
  }
  const auto held_out = static_cast<std::size_t>(std::llround(share * static_cast<double>(count)));
  std::uint64_t limit = 0;  // the largest hash that is held out
  if (held_out > 0) {
    std::vector<std::uint64_t> sorted(hashes);
    const auto last = sorted.begin() + static_cast<std::ptrdiff_t>(held_out) - 1;
    std::nth_element(sorted.begin(), last, sorted.end());
    limit = *last;
  }
  for (std::size_t d = 0; d < count; ++d) {
    const bool out = held_out > 0 && hashes[d] <= limit;
    (out ? split.validation : split.train).push_back(static_cast<std::int64_t>(d));
  }
  if (share > 0.0 && (split.validation.empty() || split.train.empty())) {
    reject(Failure::kData, "data.validation: a share of ", share, " of ", count,
           count == 1 ? " document" : " documents", " leaves nothing to ",
           split.validation.empty() ? "validate on" : "train on",
           "; change the share, name validation files, set it to 0, or separate documents with "
           "blank lines");
  }
  return split;
}

}  // namespace shoal

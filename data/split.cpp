#include "data/split.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/check.h"
#include "autograd/base/rng.h"

namespace shoal {
namespace {

constexpr std::uint64_t kSplitKey = 0x73706c6974;  // any constant: runs are to hold out the same

// Held out is a hash below this; exact, since a double's 53 bits fit.
std::uint64_t limit_of(double share) { return static_cast<std::uint64_t>(std::ldexp(share, 64)); }

// The share of all hashes that ends at `hash`, in three digits, on the side that `round` says.
template <class Round>
double share_at(std::uint64_t hash, const Round& round) {
  const double share = std::ldexp(static_cast<double>(hash), -64);
  const double unit = std::pow(10.0, std::floor(std::log10(std::max(share, 1e-15))) - 2.0);
  return round(share / unit) * unit;
}

std::string percent(double share) { return concat(std::round(share * 1000.0) / 10.0, '%'); }

}  // namespace

std::vector<std::uint64_t> hash_texts(const Documents& documents, const Tokenizer& tokenizer) {
  std::vector<std::uint64_t> hashes;
  hashes.reserve(static_cast<std::size_t>(documents.count()));
  for (std::int64_t d = 0; d < documents.count(); ++d) {
    const std::string text = tokenizer.decode(documents.document(d));
    hashes.push_back(hash_bytes(text.data(), text.size(), kSplitKey));
  }
  return hashes;
}

Split hold_out(std::span<const std::uint64_t> hashes, double share) {
  CHECK(share >= 0.0 && share < 1.0, "hold_out: share ", share);
  Split split;
  const std::uint64_t limit = limit_of(share);
  for (std::size_t d = 0; d < hashes.size(); ++d) {
    (hashes[d] < limit ? split.validation : split.train).push_back(static_cast<std::int64_t>(d));
  }
  if (share == 0.0 || (!split.validation.empty() && !split.train.empty())) return split;
  CHECK(!hashes.empty(), "hold_out: no documents");
  const auto [least, most] = std::minmax_element(hashes.begin(), hashes.end());
  const std::size_t count = hashes.size();
  const char* alike = count == 1        ? "separate documents with blank lines"
                      : *least == *most ? "they are all the same text; add others"
                                        : nullptr;
  const auto reject_share = [&](const char* what, double works) {
    reject(Failure::kData, "data.validation: a share of ", share, " of ", count,
           count == 1 ? " document" : " documents", " leaves nothing to ", what,
           " (each document's hash decides alone); ",
           alike != nullptr ? alike : concat("a share of ", works, " does not"),
           ", or name validation files, or set it to 0");
  };
  if (split.validation.empty()) {
    reject_share("validate on", share_at(*least, [](double x) { return std::floor(x) + 1.0; }));
  }
  reject_share("train on", share_at(*most, [](double x) { return std::floor(x); }));
  return split;
}

std::int64_t count_distinct(std::vector<std::uint64_t> hashes) {
  std::sort(hashes.begin(), hashes.end());
  return std::unique(hashes.begin(), hashes.end()) - hashes.begin();
}

std::string skew_by_copies(std::span<const std::uint64_t> hashes, const Split& split,
                           double share) {
  if (share == 0.0 || hashes.empty()) return "";
  std::vector<std::uint64_t> held_out;
  for (const std::int64_t d : split.validation) {
    held_out.push_back(hashes[static_cast<std::size_t>(d)]);
  }
  const auto count = static_cast<std::int64_t>(hashes.size());
  const auto part = static_cast<std::int64_t>(held_out.size());
  const std::int64_t distinct = count_distinct({hashes.begin(), hashes.end()});
  const double came_out = static_cast<double>(part) / static_cast<double>(count);
  const double without_copies =
      static_cast<double>(count_distinct(std::move(held_out))) / static_cast<double>(distinct);
  const double far = 0.5 * std::min(share, 1.0 - share);
  if (std::abs(came_out - share) <= far || std::abs(came_out - without_copies) <= far) return "";
  return concat("data.validation: ", part, " of ", count, " documents (", percent(came_out),
                ") are held out where ", percent(share), " was asked for: ", count - distinct,
                " are copies of others, and copies stay on one side");
}

}  // namespace shoal

#pragma once
#include <cstdint>
#include <vector>

namespace shoal {

// B sequences of T positions in rows n = b * T + t; N = B * T rows. A sequence holds one or more
// pieces of documents one after the other, then padding. Row n reads tokens[n] and predicts
// targets[n]; attention, compression and MTP stay within the rows that share first[n].
struct Batch {
  std::int64_t B = 0, T = 0;
  std::vector<std::int32_t> tokens;   // [N]
  std::vector<std::int32_t> targets;  // [N] the piece's next token; -1: padding
  std::vector<std::int32_t> first;    // [N] row of the piece's first token: position = n - first[n]

  std::int64_t rows() const { return B * T; }
  bool is_padding(std::int64_t n) const { return targets[static_cast<std::size_t>(n)] < 0; }
  // What MTP predicts at row n: the target of the next row of the same piece, or -1.
  std::int32_t second_target(std::int64_t n) const {
    const auto i = static_cast<std::size_t>(n);
    return n + 1 < rows() && first[i + 1] == first[i] ? targets[i + 1] : -1;
  }
};

}  // namespace shoal

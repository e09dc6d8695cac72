#pragma once
#include <cstdint>
#include <vector>

namespace shoal {

// What a row of a synthetic task is there for.
enum class RowRole : std::uint8_t { kPadding, kContext, kAnswer };

// B sequences of T positions in rows n = b * T + t; N = B * T rows. A sequence holds one or more
// pieces of documents one after the other, then padding. Row n reads tokens[n] and predicts
// targets[n]; attention, compression and MTP stay within the rows that share first[n].
struct Batch {
  std::int64_t B = 0, T = 0;
  std::vector<std::int32_t> tokens;   // [N]
  std::vector<std::int32_t> targets;  // [N] the piece's next token; -1: the loss does not count it
  std::vector<std::int32_t> first;    // [N] row of the piece's first token: position = n - first[n]
  // [N] of a task, whose context need not count in the loss; empty: what has no target is padding.
  std::vector<RowRole> roles;

  std::int64_t rows() const { return B * T; }
  bool is_padding(std::int64_t n) const {
    const auto i = static_cast<std::size_t>(n);
    return roles.empty() ? targets[i] < 0 : roles[i] == RowRole::kPadding;
  }
  bool is_answer(std::int64_t n) const {
    return !roles.empty() && roles[static_cast<std::size_t>(n)] == RowRole::kAnswer;
  }
  // The token after row n, also where the loss does not count it; -1: there is none.
  std::int32_t next_token(std::int64_t n) const {
    const auto i = static_cast<std::size_t>(n);
    if (targets[i] >= 0 || is_padding(n)) return targets[i];
    return n + 1 < rows() && first[i + 1] == first[i] ? tokens[i + 1] : -1;
  }
  // What MTP predicts at row n: the target of the next row of the same piece, or -1.
  std::int32_t second_target(std::int64_t n) const {
    const auto i = static_cast<std::size_t>(n);
    return n + 1 < rows() && first[i + 1] == first[i] ? targets[i + 1] : -1;
  }
};

}  // namespace shoal

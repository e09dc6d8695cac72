#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "data/documents.h"

namespace shoal {

// Consecutive predictions of one document: token begin+i is read, begin+i+1 predicted, i < length.
struct Piece {
  std::int64_t begin;  // in Documents::tokens
  std::int32_t length;
};

// Pieces grouped into sequences of at most T rows; the rest of a sequence is padding.
struct Packing {
  std::vector<Piece> pieces;
  std::vector<std::int64_t> first_piece{0};  // [sequences + 1]

  std::int64_t sequences() const { return static_cast<std::int64_t>(first_piece.size()) - 1; }
  std::span<const Piece> sequence(std::int64_t s) const {
    const auto i = static_cast<std::size_t>(s);
    return {pieces.data() + first_piece[i],
            static_cast<std::size_t>(first_piece[i + 1] - first_piece[i])};
  }
  std::int64_t targets() const;
};

// A document of L tokens has L - 1 predictions: it is cut after every T of them, and the next piece
// begins with the token that the last one predicted, so every token but bos is predicted once.
// Pieces are placed by best-fit decreasing, O(n log n): longest first, each into the sequence with
// the least room that still takes it. A pure function of the lengths; ties go to the lower index.
Packing pack_documents(const Documents& documents, std::span<const std::int64_t> which,
                       std::int64_t T);

}  // namespace shoal

#include "data/packing.h"

#include <algorithm>
#include <set>
#include <utility>

#include "autograd/base/check.h"

namespace shoal {
namespace {

std::vector<Piece> cut(const Documents& documents, std::span<const std::int64_t> which,
                       std::int64_t T) {
  std::vector<Piece> pieces;
  for (const std::int64_t d : which) {
    const std::int64_t begin = documents.begin[static_cast<std::size_t>(d)];
    const auto predictions = static_cast<std::int64_t>(documents.document(d).size()) - 1;
    CHECK(predictions >= 1, "packing: document ", d, " is not bos, text, eos");
    for (std::int64_t s = 0; s < predictions; s += T) {
      pieces.push_back({begin + s, static_cast<std::int32_t>(std::min(T, predictions - s))});
    }
  }
  return pieces;
}

}  // namespace

std::int64_t Packing::targets() const {
  std::int64_t sum = 0;
  for (const Piece& piece : pieces) sum += piece.length;
  return sum;
}

Packing pack_documents(const Documents& documents, std::span<const std::int64_t> which,
                       std::int64_t T) {
  CHECK(T >= 1 && T <= INT32_MAX, "packing: sequences of ", T, " tokens");
  std::vector<Piece> pieces = cut(documents, which, T);
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.length > b.length; });

  std::vector<std::int64_t> home(pieces.size());               // the sequence of each piece
  std::set<std::pair<std::int64_t, std::int64_t>> open_space;  // (room, sequence), room > 0
  std::int64_t sequences = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::int64_t length = pieces[i].length;
    std::int64_t room = T;
    const auto fit = open_space.lower_bound({length, 0});
    if (fit == open_space.end()) {
      home[i] = sequences++;
    } else {
      room = fit->first;
      home[i] = fit->second;
      open_space.erase(fit);
    }
    if (room > length) open_space.emplace(room - length, home[i]);
  }

  // A counting sort by sequence; inside one the pieces stay in order of their lengths.
  Packing packing;
  packing.first_piece.assign(static_cast<std::size_t>(sequences) + 1, 0);
  for (const std::int64_t s : home) ++packing.first_piece[static_cast<std::size_t>(s) + 1];
  for (std::size_t s = 0; s < static_cast<std::size_t>(sequences); ++s) {
    packing.first_piece[s + 1] += packing.first_piece[s];
  }
  std::vector<std::int64_t> next(packing.first_piece);
  packing.pieces.resize(pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const auto at = next[static_cast<std::size_t>(home[i])]++;
    packing.pieces[static_cast<std::size_t>(at)] = pieces[i];
  }
  return packing;
}

}  // namespace shoal

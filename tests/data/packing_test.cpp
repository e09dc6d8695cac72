#include "data/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "autograd/base/rng.h"
#include "data/tokenizer/bytes.h"

namespace shoal {
namespace {

Documents documents_of(const std::vector<std::int64_t>& text_lengths) {
  const ByteTokenizer tokenizer;
  Documents documents;
  for (const std::int64_t length : text_lengths) {
    documents.add(std::string(static_cast<std::size_t>(length), 'x'), tokenizer);
  }
  return documents;
}

std::vector<std::int64_t> all_of(const Documents& documents) {
  std::vector<std::int64_t> which(static_cast<std::size_t>(documents.count()));
  std::iota(which.begin(), which.end(), 0);
  return which;
}

TEST(Packing, PredictsEveryTokenButBosOnce) {
  const Rng rng(1, Purpose::kTest);
  for (const std::int64_t T : {1, 2, 3, 7, 16, 100}) {
    std::vector<std::int64_t> lengths;
    for (std::uint64_t d = 0; d < 60; ++d) {
      lengths.push_back(static_cast<std::int64_t>(rng.below(d, 3 * 17)));
    }
    const Documents documents = documents_of(lengths);
    const Packing packing = pack_documents(documents, all_of(documents), T);
    std::vector<int> read(documents.tokens.size()), predicted(documents.tokens.size());
    for (std::int64_t s = 0; s < packing.sequences(); ++s) {
      std::int64_t rows = 0;
      for (const Piece& piece : packing.sequence(s)) {
        ASSERT_GE(piece.length, 1);
        rows += piece.length;
        for (std::int64_t i = piece.begin; i < piece.begin + piece.length; ++i) {
          ++read[static_cast<std::size_t>(i)];
          ++predicted[static_cast<std::size_t>(i) + 1];
        }
      }
      ASSERT_GE(rows, 1);
      ASSERT_LE(rows, T);
    }
    for (std::size_t i = 0; i < documents.tokens.size(); ++i) {
      ASSERT_EQ(predicted[i], documents.tokens[i] == ByteTokenizer::kBos ? 0 : 1) << i;
      ASSERT_EQ(read[i], documents.tokens[i] == ByteTokenizer::kEos ? 0 : 1) << i;
    }
    EXPECT_EQ(packing.targets(),
              static_cast<std::int64_t>(documents.tokens.size()) - documents.count());
  }
}

TEST(Packing, TakesTheTightestSequence) {
  // Predictions are text + 1: 6, 7, 8, 3, 2 in sequences of 10. The 3 goes to the 7, where it fits
  // exactly, not to the 6, and the 2 to the 8.
  const Documents documents = documents_of({5, 6, 7, 2, 1});
  const Packing packing = pack_documents(documents, all_of(documents), 10);
  std::vector<std::vector<int>> lengths;
  for (std::int64_t s = 0; s < packing.sequences(); ++s) {
    lengths.emplace_back();
    for (const Piece& piece : packing.sequence(s)) lengths.back().push_back(piece.length);
  }
  EXPECT_EQ(lengths, (std::vector<std::vector<int>>{{8, 2}, {7, 3}, {6}}));
}

TEST(Packing, CutsALongDocumentAtEverySequenceLength) {
  const Documents documents = documents_of({23});  // 24 predictions
  const Packing packing = pack_documents(documents, all_of(documents), 10);
  ASSERT_EQ(packing.sequences(), 3);
  EXPECT_EQ(packing.pieces[0].begin, 0);
  EXPECT_EQ(packing.pieces[1].begin, 10);  // the token that the first piece predicted last
  EXPECT_EQ(packing.pieces[2].begin, 20);
  EXPECT_EQ(packing.pieces[2].length, 4);
}

TEST(Packing, WastesLittle) {
  const Rng rng(2, Purpose::kTest);
  std::vector<std::int64_t> lengths;
  for (std::uint64_t d = 0; d < 20000; ++d) {
    lengths.push_back(static_cast<std::int64_t>(rng.below(d, 900)));
  }
  const Documents documents = documents_of(lengths);
  const Packing packing = pack_documents(documents, all_of(documents), 512);
  EXPECT_LT(static_cast<double>(packing.sequences() * 512),
            1.002 * static_cast<double>(packing.targets()));
}

}  // namespace
}  // namespace shoal

#pragma once
#include <cstdint>

namespace shoal {

// Keys that queries look at: rows of one array, for each query a contiguous range of them, or a
// list. Queries of neighbouring rows see neighbouring ranges: begin and begin + count never fall.
struct KeySet {
  const float* keys = nullptr;  // [M, D]
  std::int64_t D = 0;
  const std::int32_t* begin = nullptr;   // [N] the first key that query n may see
  const std::int32_t* count = nullptr;   // [N] how many, from there on
  const std::int32_t* chosen = nullptr;  // [N, slots] min(slots, count[n]) keys in rising order;
  std::int64_t slots = 0;                // null: every query sees all that it may

  std::int64_t seen(std::int64_t n) const {  // keys that query n looks at
    if (keys == nullptr) return 0;
    return chosen != nullptr && slots < count[n] ? slots : count[n];
  }
};

// The queries [n0, n1), `per` rows each (heads), against one KeySet: tiles of numbers with a row
// for each of theirs and a column for each key that any of them sees (or for each slot).
//
// Whatever the tile, the number of a (row, key) pair is one chain of fused multiply-adds, and sums
// over keys run in rising order: ranges, lists and other cuts into blocks give the same bits. Only
// add_to_keys, of backward passes, adds query by query for lists and block by block for ranges.
class KeyBlock {
 public:
  struct Columns {
    std::int64_t begin, end;
  };
  KeyBlock() = default;
  // alone: the only block of its op, whose products may take all threads; else they run on the
  // calling one. The bits are the same.
  KeyBlock(const KeySet& set, std::int64_t n0, std::int64_t n1, bool alone = false);

  std::int64_t width() const { return width_; }
  // What query n sees; the other columns hold nothing.
  Columns columns(std::int64_t n) const;
  // The key behind a column of query n.
  std::int64_t key(std::int64_t n, std::int64_t column) const;

  // scores[i, j] = a[i] . key_j        a [(n1 - n0) * per, D], scores with rows of `ld`
  void scores(std::int64_t per, const float* a, float* scores, std::int64_t ld) const;
  // out[i] (+)= sum_j weights[row(i), j] key_j    for `take` rows of the `per` of each query, the
  // ones from `from` on; out [(n1 - n0) * take, D]
  void values(std::int64_t per, std::int64_t from, std::int64_t take, const float* weights,
              std::int64_t ld, float* out, bool add) const;
  // sums[key_j - lowest] += sum_i weights[i, j] a[i], one row after the other
  void add_to_keys(std::int64_t per, const float* weights, std::int64_t ld, const float* a,
                   float* sums, std::int64_t lowest) const;

 private:
  KeySet set_;
  std::int64_t n0_ = 0, n1_ = 0, first_ = 0, width_ = 0;
  bool alone_ = false;
};

// Keys that any of the queries [n0, n1) may see.
struct KeySpan {
  std::int64_t begin, end;
};
KeySpan key_span(const KeySet& set, std::int64_t n0, std::int64_t n1);

// sums[i] = row i's elements [0, n), added one after the other; several rows at a time hide the
// additions' latency.
void sum_rows(const float* rows, std::int64_t ld, std::int64_t count, std::int64_t n, float* sums);

}  // namespace shoal

#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "autograd/ops/attention.h"
#include "tests/autograd/ops/op_test.h"

namespace shoal::testing {

// Rows of packed documents that begin at `starts` (the first one at 0).
struct Documents {
  Integers first, position;  // [rows]

  Documents(std::int64_t rows, const Integers& starts) {
    for (std::int32_t n = 0; n < rows; ++n) {
      first.push_back(*std::prev(std::upper_bound(starts.begin(), starts.end(), n)));
      position.push_back(n - first.back());
    }
  }
};

// Their entries at one rate: where each comes from, and which ones a row may see.
struct Blocks {
  Integers own_row, position;  // [M]
  Integers begin, count;       // [rows]

  Blocks(const Documents& documents, std::int64_t rate) {
    std::int32_t from = 0;
    for (std::size_t n = 0; n < documents.first.size(); ++n) {
      if (documents.position[n] == 0) from = size();
      if ((documents.position[n] + 1) % rate == 0) {
        own_row.push_back(static_cast<std::int32_t>(n) - static_cast<std::int32_t>(rate) + 1);
        position.push_back(documents.position[n] - static_cast<std::int32_t>(rate) + 1);
      }
      begin.push_back(from);
      count.push_back(size() - from);
    }
  }
  std::int32_t size() const { return static_cast<std::int32_t>(own_row.size()); }
};

// For each row min(k, count) of its entries at random, rising, then -1: [rows, k].
inline Integers random_choice(const Integers& begin, const Integers& count, std::int64_t k,
                              std::uint64_t seed) {
  const Rng rng(seed, Purpose::kTest, 3000);
  Integers chosen;
  for (std::size_t n = 0; n < begin.size(); ++n) {
    std::vector<std::pair<double, std::int32_t>> all;
    for (std::int32_t i = begin[n]; i < begin[n] + count[n]; ++i) {
      all.emplace_back(rng.normal(n * 1000 + static_cast<std::size_t>(i)), i);
    }
    std::sort(all.begin(), all.end());
    all.resize(std::min(all.size(), static_cast<std::size_t>(k)));
    std::sort(all.begin(), all.end(), [](auto a, auto b) { return a.second < b.second; });
    for (const auto& one : all) chosen.push_back(one.second);
    chosen.resize((n + 1) * static_cast<std::size_t>(k), -1);
  }
  return chosen;
}

// Of row n: the chosen entries, or all that it sees (chosen empty).
inline Integers entries_of_row(const Integers& begin, const Integers& count, const Integers& chosen,
                               std::int64_t k, std::size_t n) {
  Integers entries;
  if (chosen.empty()) {
    for (std::int32_t i = begin[n]; i < begin[n] + count[n]; ++i) entries.push_back(i);
  } else {
    for (std::size_t i = n * static_cast<std::size_t>(k); i < (n + 1) * static_cast<std::size_t>(k);
         ++i) {
      if (chosen[i] >= 0) entries.push_back(chosen[i]);
    }
  }
  return entries;
}

// The last `count` of them.
inline Integers last(const Integers& values, std::int64_t count) {
  return {values.end() - static_cast<std::ptrdiff_t>(count), values.end()};
}

}  // namespace shoal::testing

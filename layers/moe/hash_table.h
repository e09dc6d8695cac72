#pragma once
#include <cstdint>
#include <span>

namespace shoal {

// The table of a hash-routed layer, balanced by how often tokens occur (spec 5.3): tokens in
// falling frequency, each given the K experts with the smallest load so far, ties by a random
// number that `seed` and `layer` decide; the token's frequency is added to each of them. Without
// counts every token counts alike.
//   counts [V] or empty   ->   table [V, K], distinct experts in a row
void fill_balanced_table(std::span<const std::int64_t> counts, std::int64_t V, std::int64_t E,
                         std::int64_t K, std::uint64_t seed, std::int64_t layer,
                         std::int32_t* table);

}  // namespace shoal

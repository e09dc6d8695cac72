#include "layers/moe/hash_table.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <vector>

#include "autograd/base/rng.h"

namespace shoal {

void fill_balanced_table(std::span<const std::int64_t> counts, std::int64_t V, std::int64_t E,
                         std::int64_t K, std::uint64_t seed, std::int64_t layer,
                         std::int32_t* table) {
  const Rng rng(seed, Purpose::kHashTable, static_cast<std::uint64_t>(layer));
  const auto weight = [&](std::int64_t v) {
    // A token that the corpus lacks may still be met later: it counts a little.
    return counts.empty() ? 1.0 : static_cast<double>(counts[static_cast<std::size_t>(v)]) + 1e-3;
  };
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(V));
  std::iota(tokens.begin(), tokens.end(), 0);
  std::stable_sort(tokens.begin(), tokens.end(),
                   [&](std::int64_t a, std::int64_t b) { return weight(a) > weight(b); });
  std::vector<double> load(static_cast<std::size_t>(E), 0.0);
  std::vector<std::tuple<double, std::uint64_t, std::int32_t>> order(static_cast<std::size_t>(E));
  for (const std::int64_t v : tokens) {
    for (std::int64_t e = 0; e < E; ++e) {
      order[static_cast<std::size_t>(e)] = {load[static_cast<std::size_t>(e)],
                                            rng.bits(static_cast<std::uint64_t>(v * E + e)),
                                            static_cast<std::int32_t>(e)};
    }
    std::partial_sort(order.begin(), order.begin() + K, order.end());
    for (std::int64_t k = 0; k < K; ++k) {
      const std::int32_t e = std::get<2>(order[static_cast<std::size_t>(k)]);
      table[v * K + k] = e;
      load[static_cast<std::size_t>(e)] += weight(v);
    }
  }
}

}  // namespace shoal

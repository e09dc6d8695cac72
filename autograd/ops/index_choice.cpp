#include "autograd/ops/index_choice.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "autograd/kernels/fp8.h"
#include "autograd/kernels/key_set.h"
#include "autograd/kernels/top_k.h"

namespace shoal {
namespace {

// Queries that go by together: each strip of keys is expanded once for all of them, while their
// heads stay in the second-level cache.
std::int64_t rows_together(std::int64_t H) { return std::clamp<std::int64_t>(512 / H, 1, 32); }

void choose(const IndexScores& s, const PackedKeys& keys, std::int64_t n0, std::int64_t n1,
            std::int64_t k, std::int32_t* chosen) {
  const std::int64_t H = s.weight.shape.cols(), queries = n1 - n0;
  const auto *begin = s.begin.as<std::int32_t>(), *count = s.count.as<std::int32_t>();
  bool all = true;  // nobody has to choose
  for (std::int64_t n = n0; n < n1; ++n) {
    std::int32_t* to = chosen + n * k;
    for (std::int64_t i = 0; i < k; ++i) {
      to[i] = i < count[n] ? begin[n] + static_cast<std::int32_t>(i) : -1;
    }
    all = all && count[n] <= k;
  }
  if (all) return;
  const std::int64_t last = begin[n1 - 1] + count[n1 - 1];
  const std::int64_t strip = (StripScores::bytes(H, keys) + 63) / 64 * 64;
  const std::int64_t query = StripScores::query_bytes(H, keys);
  auto* memory = static_cast<std::byte*>(
      thread_scratch(1, static_cast<std::size_t>(strip + queries * query) +
                            static_cast<std::size_t>(queries) *
                                (2 * static_cast<std::size_t>(k) * sizeof(TopK::Candidate) +
                                 sizeof(TopK) + sizeof(StripScores::Query))));
  auto* prepared = reinterpret_cast<StripScores::Query*>(memory + strip + queries * query);
  auto* best = reinterpret_cast<TopK*>(prepared + queries);
  auto* candidates = reinterpret_cast<TopK::Candidate*>(best + queries);
  StripScores scores(keys, last, H, index_kernel(), memory);
  const float scale = 1.0F / std::sqrt(static_cast<float>(H * keys.D));
  for (std::int64_t i = 0; i < queries; ++i) {
    if (count[n0 + i] <= k) continue;
    new (prepared + i) StripScores::Query(
        scores.prepare(s.q.row(n0 + i), s.weight.row(n0 + i), scale, memory + strip + i * query));
    new (best + i) TopK(candidates + i * 2 * k, k);
  }
  for (std::int64_t c = begin[n0] / kKeyStrip * kKeyStrip; c < last; c += kKeyStrip) {
    scores.open(c);
    for (std::int64_t i = 0; i < queries; ++i) {
      const std::int64_t n = n0 + i;
      const std::int64_t from = std::max<std::int64_t>(c, begin[n]) - c;
      const std::int64_t to = std::min<std::int64_t>(c + kKeyStrip, begin[n] + count[n]) - c;
      if (from >= to || count[n] <= k) continue;
      float total[kKeyStrip];
      scores.score(prepared[i], total);
      for (float& x : total) x = round_to_bf16(x);
      best[i].add(total + from, to - from, c + from);
    }
  }
  for (std::int64_t i = 0; i < queries; ++i) {
    if (count[n0 + i] > k) best[i].finish(chosen + (n0 + i) * k);
  }
}

}  // namespace

PackedKeys pack_keys(Tape& tape, Tensor key) {
  const std::int64_t M = key.shape.rows();
  PackedKeys keys{nullptr, nullptr, key.shape.cols()};
  const auto bytes = [&](std::int64_t n) {
    return static_cast<std::uint8_t*>(tape.alloc({(n + 3) / 4}, DType::kI32).data);
  };
  keys.codes = bytes(keys.code_bytes(M));
  keys.scales = bytes(keys.scale_bytes(M));
  if (tape.is_dry()) return keys;
  const std::int64_t groups = PackedKeys::groups(M);
  for_chunks(groups, [&](Range r) {
    const std::int64_t first = r.begin * kKeyGroup, end = std::min(M, r.end * kKeyGroup);
    pack_keys(key.row(first), first, end - first, keys);
  });
  return keys;
}

Tensor choose_entries_fp4(Tape& tape, const IndexScores& scores, const PackedKeys& keys,
                          std::int64_t k) {
  const std::int64_t N = scores.weight.shape.rows(), H = scores.weight.shape.cols();
  CHECK((k >= 1 && scores.q.shape == Shape{N, H * keys.D} && scores.begin.shape.numel() == N &&
         scores.count.shape.numel() == N),
        "choose_entries_fp4: q ", scores.q.shape, ", keys of ", keys.D, ", weight ",
        scores.weight.shape, ", ", k, " entries");
  const Tensor chosen = tape.alloc({N, k}, DType::kI32);
  if (tape.is_dry()) return chosen;
  const TraceSpan span("choose_entries_fp4", "forward");
  const std::int64_t rows = rows_together(H), blocks = (N + rows - 1) / rows;
  for_tasks(blocks, [&](std::int64_t i) {
    const std::int64_t block = blocks - 1 - i;  // the last rows see most: they go first
    choose(scores, keys, block * rows, std::min(N, (block + 1) * rows), k,
           chosen.as<std::int32_t>());
  });
  return chosen;
}

}  // namespace shoal

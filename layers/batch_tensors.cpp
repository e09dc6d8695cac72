#include "layers/batch_tensors.h"

#include <algorithm>

namespace shoal {
namespace {

EntryLayout lay_out(Tape& tape, const Batch& batch, std::int64_t rate) {
  const std::int64_t N = batch.rows();
  const auto first = [&](std::int64_t n) {
    return std::int64_t{batch.first[static_cast<std::size_t>(n)]};
  };
  // The last row of a block: everything before it in the block belongs to the same piece.
  const auto ends_block = [&](std::int64_t n) { return (n - first(n) + 1) % rate == 0; };
  std::int64_t M = 0;
  for (std::int64_t n = 0; n < N; ++n) M += ends_block(n) ? 1 : 0;
  EntryLayout layout{{tape.alloc({M}, DType::kI32), tape.alloc({M}, DType::kI32)},
                     tape.alloc({N}, DType::kI32),
                     tape.alloc({N}, DType::kI32)};
  std::int64_t entry = 0, begin = 0;
  for (std::int64_t n = 0; n < N; ++n) {
    if (first(n) == n) begin = entry;
    if (ends_block(n)) {
      layout.rows.own_row.as<std::int32_t>()[entry] = static_cast<std::int32_t>(n - rate + 1);
      layout.rows.position.as<std::int32_t>()[entry] =
          static_cast<std::int32_t>(n - rate + 1 - first(n));
      ++entry;
    }
    layout.begin.as<std::int32_t>()[n] = static_cast<std::int32_t>(begin);
    layout.count.as<std::int32_t>()[n] = static_cast<std::int32_t>(entry - begin);
    layout.most_visible = std::max(layout.most_visible, entry - begin);
  }
  return layout;
}

bool has(const ModelConfig& config, AttentionKind kind) {
  return std::find(config.layer_types.begin(), config.layer_types.end(), kind) !=
         config.layer_types.end();
}

}  // namespace

BatchTensors upload(Tape& tape, const Batch& batch, const ModelConfig& config) {
  const std::int64_t N = batch.rows();
  const auto make = [&](auto value) {
    const Tensor t = tape.alloc({N}, DType::kI32);
    auto* to = t.as<std::int32_t>();
    for (std::int64_t n = 0; n < N; ++n) to[n] = static_cast<std::int32_t>(value(n));
    return t;
  };
  const auto at = [](const std::vector<std::int32_t>& v, std::int64_t n) {
    return v[static_cast<std::size_t>(n)];
  };
  BatchTensors b;
  b.B = batch.B;
  b.T = batch.T;
  b.tokens = make([&](std::int64_t n) { return at(batch.tokens, n); });
  b.targets = make([&](std::int64_t n) { return at(batch.targets, n); });
  b.first = make([&](std::int64_t n) { return at(batch.first, n); });
  b.position = make([&](std::int64_t n) { return n - at(batch.first, n); });
  b.valid = make([&](std::int64_t n) { return batch.is_padding(n) ? 0 : 1; });
  b.next = make([&](std::int64_t n) { return std::max(0, batch.next_token(n)); });
  b.second = make([&](std::int64_t n) { return batch.second_target(n); });
  if (has(config, AttentionKind::kCompressedSparse)) {
    b.sparse = lay_out(tape, batch, config.compress_rate_csa);
  }
  if (has(config, AttentionKind::kHeavilyCompressed)) {
    b.heavy = lay_out(tape, batch, config.compress_rate_hca);
  }
  return b;
}

}  // namespace shoal

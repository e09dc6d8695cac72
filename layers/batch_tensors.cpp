#include "layers/batch_tensors.h"

#include <algorithm>

namespace shoal {

BatchTensors upload(Tape& tape, const Batch& batch) {
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
  b.next = make([&](std::int64_t n) { return std::max(0, at(batch.targets, n)); });
  b.second = make([&](std::int64_t n) { return batch.second_target(n); });
  return b;
}

}  // namespace shoal

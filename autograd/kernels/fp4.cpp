#include "autograd/kernels/fp4.h"

#include <algorithm>

namespace shoal {
namespace {

constexpr int kBlock = static_cast<int>(kFp4Block);

std::uint8_t block_scale(const float* x) {
  std::uint32_t largest = 0;
  for (int i = 0; i < kBlock; ++i) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffU);
  }
  return fp4_scale(std::bit_cast<float>(largest));
}

// Rounds 32 numbers to E2M1 in units of their scale.
void round_block(const float* x, std::uint8_t scale, float* y) {
  const float inverse = scale_value(static_cast<std::uint8_t>(254 - scale));
  for (int i = 0; i < kBlock; ++i) y[i] = round_to_e2m1(x[i] * inverse);
}

// fn(block index, its first value, how many) for each block of a row.
template <class Fn>
void for_blocks(std::int64_t K, const Fn& fn) {
  for (std::int64_t k = 0; k < K; k += kFp4Block) fn(k / kFp4Block, k, std::min(kFp4Block, K - k));
}

// `n` numbers and zeros after them: what lies behind a short block is not read.
struct Block {
  alignas(64) float x[kBlock];
  Block() = default;
  Block(const float* from, std::int64_t n) {
    std::copy_n(from, n, x);
    std::fill(x + n, x + kBlock, 0.0F);
  }
};

}  // namespace

void fp4_round(const float* x, std::int64_t rows, std::int64_t K, float* y) {
  for (std::int64_t r = 0; r < rows; ++r, x += K, y += K) {
    for_blocks(K, [&](std::int64_t, std::int64_t k, std::int64_t n) {
      const Block in(x + k, n);
      const std::uint8_t scale = block_scale(in.x);
      if (scale == kFp4ScaleNan) {
        std::fill_n(y + k, n, scale_value(scale));
        return;
      }
      Block out;
      round_block(in.x, scale, out.x);
      const float S = scale_value(scale);
      for (float& v : out.x) v *= S;
      std::copy_n(out.x, n, y + k);
    });
  }
}

void fp4_pack(const float* x, std::int64_t rows, std::int64_t K, std::uint8_t* codes,
              std::uint8_t* scales) {
  for (std::int64_t r = 0; r < rows; ++r, x += K) {
    for_blocks(K, [&](std::int64_t b, std::int64_t k, std::int64_t n) {
      const Block in(x + k, n);
      scales[b] = block_scale(in.x);
      Block out(in.x, 0);
      if (scales[b] != kFp4ScaleNan) round_block(in.x, scales[b], out.x);
      for (std::int64_t i = 0; i < n; i += 2) {
        codes[(k + i) / 2] = static_cast<std::uint8_t>(
            e2m1_code(out.x[i]) | (i + 1 < n ? e2m1_code(out.x[i + 1]) << 4 : 0));
      }
    });
    codes += fp4_code_bytes(K);
    scales += fp4_scale_bytes(K);
  }
}

void fp4_unpack(const std::uint8_t* codes, const std::uint8_t* scales, std::int64_t rows,
                std::int64_t K, float* y) {
  for (std::int64_t r = 0; r < rows; ++r, y += K) {
    for_blocks(K, [&](std::int64_t b, std::int64_t k, std::int64_t n) {
      const float S = scale_value(scales[b]);
      for (std::int64_t i = k; i < k + n; ++i) {
        const int code = i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4;
        const float size = 0.5F * static_cast<float>(e2m1_twice(code & 7)) * S;
        y[i] = code > 7 ? -size : size;
      }
    });
    codes += fp4_code_bytes(K);
    scales += fp4_scale_bytes(K);
  }
}

}  // namespace shoal

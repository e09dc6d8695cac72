#include "autograd/kernels/index_fp4.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>

#include "autograd/base/check.h"
#include "autograd/kernels/fp4.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/weigh_heads.h"

namespace shoal {

const IndexKernel* index_kernel_wide();  // whatever the processor has

namespace {

constexpr int kLeastWeight = -48, kMostWeight = 60;  // powers of two of weight * scale * unit

std::uint8_t* code_at(const PackedKeys& keys, std::int64_t key, std::int64_t d) {
  return keys.codes + key / kKeyGroup * kKeyGroup * keys.width() / 2 + d / 8 * 64 +
         key % kKeyGroup * 4 + d % 4;
}
std::uint8_t* scale_at(const PackedKeys& keys, std::int64_t key, std::int64_t block) {
  return keys.scales + (key / kKeyGroup * keys.blocks() + block) * kKeyGroup + key % kKeyGroup;
}
bool is_high(std::int64_t d) { return d % 8 >= 4; }

// A block of zeros has whatever scale suits its vector: the least of the others.
void give_zeros_a_scale(std::uint8_t* scales, const bool* zero, std::int64_t blocks) {
  std::uint8_t least = kFp4ScaleNan;
  bool nan = false;
  for (std::int64_t b = 0; b < blocks; ++b) {
    if (!zero[b]) least = std::min(least, scales[b]);
    nan = nan || scales[b] == kFp4ScaleNan;
  }
  if (least == kFp4ScaleNan) least = 127;
  for (std::int64_t b = 0; b < blocks; ++b) {
    if (nan || zero[b]) scales[b] = nan ? kFp4ScaleNan : least;
  }
}

// A vector's blocks in FP4.
struct PackedVector {
  std::uint8_t codes[kMostKeyWidth / 2], scales[kMostKeyWidth / kFp4Block];
  std::int64_t blocks;

  PackedVector(const float* x, std::int64_t D) : blocks(fp4_scale_bytes(D)) {
    bool zero[kMostKeyWidth / kFp4Block];
    fp4_pack(x, 1, D, codes, scales);
    for (std::int64_t b = 0; b < blocks; ++b) {
      zero[b] = scales[b] != kFp4ScaleNan;
      const std::int64_t end = std::min(fp4_code_bytes(D), (b + 1) * kFp4Block / 2);
      for (std::int64_t i = b * kFp4Block / 2; i < end; ++i) {
        zero[b] = zero[b] && (codes[i] & 0x77) == 0;
      }
    }
    give_zeros_a_scale(scales, zero, blocks);
  }
  int code(std::int64_t d) const { return codes[d / 2] >> (d % 2 * 4) & 15; }
};

void expand_scalar(const PackedKeys& keys, std::int64_t first, std::int64_t count,
                   KeyStrip& strip) {
  const std::int64_t W = keys.width();
  strip.unfit = 0;
  for (std::int64_t i = 0; i < kKeyStrip; ++i) {
    std::uint8_t* to = strip.bytes + i / kKeyGroup * kKeyGroup * W + i % kKeyGroup * 4;
    const std::int64_t key = first + i;
    int least = 255, most = 0;
    for (std::int64_t b = 0; b < keys.blocks() && key < count; ++b) {
      least = std::min<int>(least, *scale_at(keys, key, b));
      most = std::max<int>(most, *scale_at(keys, key, b));
    }
    const bool fits = key < count && most - least <= kMostKeyShift && least >= kLeastKeyScale &&
                      most <= kMostKeyScale;
    if (key < count && !fits) strip.unfit |= std::uint64_t{1} << i;
    strip.unit[i] = fits ? 0.5F * scale_value(static_cast<std::uint8_t>(least)) : 0.0F;
    for (std::int64_t d = 0; d < W; ++d) {
      int x = 0;
      if (fits) {
        const int code = *code_at(keys, key, d) >> (is_high(d) ? 4 : 0) & 15;
        x = e2m1_twice(static_cast<std::uint8_t>(code)) *
            (1 << (*scale_at(keys, key, d / kFp4Block) - least));
      }
      to[d / 4 * 64 + d % 4] = static_cast<std::uint8_t>(kKeyBias + x);
    }
  }
}

void score_scalar(const IndexQuery& query, const KeyStrip& strip, float* out) {
  const std::int64_t W = query.width;
  for (std::int64_t i = 0; i < kKeyStrip; ++i) {
    const std::uint8_t* key = strip.bytes + i / kKeyGroup * kKeyGroup * W + i % kKeyGroup * 4;
    float sum = 0.0F;
    for (std::int64_t h = 0; h < query.H; ++h) {
      const std::int8_t* row = query.rows + h * W;
      std::int32_t dot = query.start[h];
      for (std::int64_t d = 0; d < W; ++d) dot += key[d / 4 * 64 + d % 4] * row[d];
      sum = std::fma(query.weights[h], static_cast<float>(std::max(0, dot)), sum);
    }
    out[i] = sum * strip.unit[i];
  }
}

// Rounds q [H, D]; false: it does not fit.
bool prepare_query(const float* q, const float* weight, float scale, bool shifts_rows,
                   std::int64_t D, IndexQuery& to) {
  for (std::int64_t h = 0; h < to.H; ++h, q += D) {
    const PackedVector packed(q, D);
    const auto [low, high] = std::minmax_element(packed.scales, packed.scales + packed.blocks);
    const int least = *low;
    if (*high == kFp4ScaleNan || *high - least > kMostKeyShift) return false;
    const float w = weight[h] * scale;
    if (w != 0.0F) {
      const int power = std::isfinite(w) ? std::ilogb(w) + least - 128 : kMostWeight + 1;
      if (power < kLeastWeight || power > kMostWeight) return false;
    }
    to.weights[h] = w == 0.0F ? w : std::ldexp(w, least - 128);
    std::int8_t* row = to.rows + h * to.width;
    std::int32_t sum = 0;
    for (std::int64_t d = 0; d < to.width; ++d) {
      const int shift = d < D ? packed.scales[d / kFp4Block] - least : 0;
      const int x = d < D ? e2m1_twice(static_cast<std::uint8_t>(packed.code(d))) : 0;
      row[d] = static_cast<std::int8_t>(shifts_rows ? x * (1 << shift) : x);
      sum += x * (1 << shift);
    }
    for (std::int64_t b = 0; b < to.blocks; ++b) {
      to.factors[h * to.blocks + b] = 0x10001 << (packed.scales[b] - least);
    }
    to.start[h] = -kKeyBias * sum;
  }
  return true;
}

}  // namespace

void pack_keys(const float* x, std::int64_t first, std::int64_t n, const PackedKeys& to) {
  CHECK(to.D <= kMostKeyWidth, "pack_keys: keys of ", to.D);
  for (std::int64_t key = first; key < first + n; ++key, x += to.D) {
    if (key % kKeyGroup == 0) {
      std::memset(code_at(to, key, 0), 0, static_cast<std::size_t>(kKeyGroup * to.width() / 2));
      std::memset(scale_at(to, key, 0), 127, static_cast<std::size_t>(kKeyGroup * to.blocks()));
    }
    const PackedVector packed(x, to.D);
    for (std::int64_t d = 0; d < to.D; ++d) {
      *code_at(to, key, d) |= static_cast<std::uint8_t>(packed.code(d) << (is_high(d) ? 4 : 0));
    }
    for (std::int64_t b = 0; b < packed.blocks; ++b) *scale_at(to, key, b) = packed.scales[b];
  }
}

void unpack_keys(const PackedKeys& keys, std::int64_t first, std::int64_t n, float* to) {
  for (std::int64_t key = first; key < first + n; ++key) {
    for (std::int64_t d = 0; d < keys.D; ++d) {
      const int code = *code_at(keys, key, d) >> (is_high(d) ? 4 : 0) & 15;
      const float size = 0.5F * static_cast<float>(e2m1_twice(code & 7)) *
                         scale_value(*scale_at(keys, key, d / kFp4Block));
      *to++ = code > 7 ? -size : size;
    }
  }
}

std::int64_t IndexQuery::bytes(std::int64_t H, const PackedKeys& keys) {
  return H * (keys.width() + 4 * keys.blocks() + 8);
}
IndexQuery::IndexQuery(void* memory, std::int64_t heads, const PackedKeys& keys)
    : H(heads),
      width(keys.width()),
      blocks(keys.blocks()),
      rows(static_cast<std::int8_t*>(memory)),
      factors(reinterpret_cast<std::int32_t*>(rows + H * width)),
      start(factors + H * blocks),
      weights(reinterpret_cast<float*>(start + H)) {}

StripScores::StripScores(const PackedKeys& keys, std::int64_t count, std::int64_t H,
                         const IndexKernel& kernel, void* memory)
    : keys_(keys), count_(count), H_(H), kernel_(&kernel) {
  strip_.bytes = static_cast<std::uint8_t*>(memory);
  floats_ = reinterpret_cast<float*>(strip_.bytes + kKeyStrip * keys.width());
  dots_ = floats_ + kKeyStrip * keys.D;
  rounded_ = dots_ + kKeyStrip * H;
}
std::int64_t StripScores::bytes(std::int64_t H, const PackedKeys& keys) {
  return kKeyStrip * (keys.width() + 4 * (keys.D + H)) + 4 * H * keys.D;
}
std::int64_t StripScores::query_bytes(std::int64_t H, const PackedKeys& keys) {
  return (IndexQuery::bytes(H, keys) + 63) / 64 * 64;
}

StripScores::Query StripScores::prepare(const float* q, const float* weight, float scale,
                                        void* memory) const {
  Query query{q, weight, scale, IndexQuery(memory, H_, keys_), false};
  query.fits = prepare_query(q, weight, scale, kernel_->shifts_rows, keys_.D, query.whole);
  return query;
}

void StripScores::open(std::int64_t first) {
  first_ = first;
  has_floats_ = false;
  kernel_->expand(keys_, first, count_, strip_);
}

void StripScores::score(const Query& query, float* out) {
  if (query.fits && is_whole()) return kernel_->score(query.whole, strip_, out);
  const std::int64_t n = std::min(kKeyStrip, count_ - first_);
  if (!has_floats_) unpack_keys(keys_, first_, n, floats_);
  has_floats_ = true;
  fp4_round(query.q, H_, keys_.D, rounded_);
  gemm_on_this_thread(gemm_forward(H_, n, keys_.D, rounded_, floats_, dots_));
  weigh_heads(dots_, n, query.weight, H_, query.scale, 0, n, out);
  std::fill(out + n, out + kKeyStrip, 0.0F);
}

const IndexKernel& index_kernel_scalar() {
  static constexpr IndexKernel kKernel{"scalar", true, expand_scalar, score_scalar};
  return kKernel;
}

const IndexKernel& index_kernel() {
  const bool wide = std::string_view(gemm_kernel()) == "avx512";
  if (const IndexKernel* vnni = wide ? index_kernel_vnni() : nullptr) return *vnni;
  if (const IndexKernel* avx2 = index_kernel_avx2()) return *avx2;
  return index_kernel_scalar();
}

#if defined(__x86_64__)
const IndexKernel* index_kernel_vnni() {
  static const bool on =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
      __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vnni") != 0;
  return on ? index_kernel_wide() : nullptr;
}
#else
const IndexKernel* index_kernel_avx2() { return nullptr; }
const IndexKernel* index_kernel_vnni() { return nullptr; }
#endif

}  // namespace shoal

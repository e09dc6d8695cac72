#pragma once
#include <cstdint>

namespace shoal {

// A lightning indexer's scores from keys in FP4 (spec 2.6, 8.1), in whole numbers.
//
// Twice an E2M1 value is a whole number up to 12. The scales of a vector's blocks differ by few
// powers of two, so that its values are whole numbers up to 12 * 2^3 of one unit, and a dot product
// of two such vectors is a sum of integers below 2^24. A float holds it exactly, and so would every
// partial sum of a chain of fused multiply-adds: these scores have the bits of the float32 scores
// of the rounded vectors. Where that is not sure (`fits` below), float32 computes them.

// Keys, 68 bytes each for D = 128: packed in groups of 16, so that a vector register holds the same
// four dimensions of 16 keys.
//   codes   [groups][D / 8][16 keys][4]: dimensions 8 i + j in the low, 8 i + 4 + j in the high
//   bits scales  [groups][blocks][16 keys]: as in fp4.h, but a block of zeros has its key's least
// D is a power of two; below 8 zeros fill up.
inline constexpr std::int64_t kKeyGroup = 16, kKeyStrip = 64;
struct PackedKeys {
  std::uint8_t *codes = nullptr, *scales = nullptr;
  std::int64_t D = 0;

  // Always inlined: see wide_vectors.h.
  [[gnu::always_inline]] std::int64_t width() const { return D < 8 ? 8 : D; }
  [[gnu::always_inline]] std::int64_t blocks() const { return D < 32 ? 1 : D / 32; }
  std::int64_t code_bytes(std::int64_t keys) const {
    return groups(keys) * kKeyGroup * width() / 2;
  }
  std::int64_t scale_bytes(std::int64_t keys) const { return groups(keys) * kKeyGroup * blocks(); }
  static std::int64_t groups(std::int64_t keys) { return (keys + kKeyGroup - 1) / kKeyGroup; }
};
// Rounds keys [n, D] to FP4 and writes them as keys first .. first + n - 1. Each group's first key
// clears the group.
void pack_keys(const float* keys, std::int64_t first, std::int64_t n, const PackedKeys& to);
// The rounded keys first .. first + n - 1.
void unpack_keys(const PackedKeys& keys, std::int64_t first, std::int64_t n, float* to);

// Up to 64 keys, expanded for the inner loops: bytes 96 + 2 x / unit in [group][width / 4][16][4].
struct KeyStrip {
  std::uint8_t* bytes;    // [4][width * 16]
  float unit[kKeyStrip];  // half of the least scale
  std::uint64_t unfit;    // a bit for each key that float32 has to look at
};
inline constexpr int kKeyBias = 96;
// Where whole numbers serve. Scales of one vector may differ by 2^3: bytes stay within 96, sums of
// up to 1,024 products below 2^24. A key's unit, and a head's weight times its unit, are bound so
// that every product, sum and score is a normal float: multiplying by the key's unit at last then
// rounds as multiplying by it at first does.
inline constexpr int kMostKeyShift = 3, kLeastKeyScale = 127 - 30, kMostKeyScale = 127 + 30;
inline constexpr std::int64_t kMostKeyWidth = 1024;

// The heads of one query: H rows of 2 x / unit, and what the scores need of them.
struct IndexQuery {
  std::int64_t H = 0, width = 0, blocks = 0;
  std::int8_t* rows = nullptr;      // [H, width]: shifted already where the kernel wants it
  std::int32_t* factors = nullptr;  // [H, blocks]: 2^shift of a block, in both halves
  std::int32_t* start = nullptr;    // [H]: -96 * the sum of the shifted row
  float* weights = nullptr;         // [H]: weight * scale * unit

  static std::int64_t bytes(std::int64_t H, const PackedKeys& keys);
  IndexQuery() = default;
  IndexQuery(void* memory, std::int64_t H, const PackedKeys& keys);
};

struct IndexKernel {
  const char* name;
  bool shifts_rows;
  // strip = keys [first, first + 64); those past `count` are zeros.
  void (*expand)(const PackedKeys& keys, std::int64_t first, std::int64_t count, KeyStrip& strip);
  // out[i] = unit[i] * sum_h weights[h] max(0, rows[h] . bytes[i]), 64 of them
  void (*score)(const IndexQuery& query, const KeyStrip& strip, float* out);
};
// The widest that the processor has, as kernels/gemm is told: "vnni", "avx2" or "scalar".
const IndexKernel& index_kernel();
const IndexKernel& index_kernel_scalar();
const IndexKernel* index_kernel_avx2();  // null where it was not built
const IndexKernel* index_kernel_vnni();  // null where it was not built, or the processor lacks it

// Scores of queries against one strip of keys after the other.
class StripScores {
 public:
  // The first `count` of `keys`; H heads. `memory`: bytes(H, keys), on a 64-byte boundary.
  StripScores(const PackedKeys& keys, std::int64_t count, std::int64_t H, const IndexKernel& kernel,
              void* memory);
  static std::int64_t bytes(std::int64_t H, const PackedKeys& keys);

  // Rounds a query q [H, D] to FP4; both pointers are kept. Its score is
  // sum_h weight[h] scale max(0, q[h] . key).
  struct Query {
    const float *q, *weight;
    float scale;
    IndexQuery whole;
    bool fits;  // else float32 computes its scores
  };
  Query prepare(const float* q, const float* weight, float scale, void* memory) const;
  static std::int64_t query_bytes(std::int64_t H, const PackedKeys& keys);

  void open(std::int64_t first);               // a multiple of 64
  void score(const Query& query, float* out);  // [64]; what lies past `count` is zero
  bool is_whole() const { return strip_.unfit == 0; }

 private:
  PackedKeys keys_;
  std::int64_t count_, H_, first_ = 0;
  const IndexKernel* kernel_;
  KeyStrip strip_;
  float *floats_, *dots_, *rounded_;  // of the strip's keys, where they do not fit, and a query
  bool has_floats_ = false;
};

}  // namespace shoal

// Vectors for inner loops that are compiled once per instruction set. Everything lives in an
// unnamed namespace and calls no inline function from elsewhere: a function compiled for a wide
// processor must never be merged by the linker with its twin for a narrow one.
#pragma once
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>  // of its functions every call is inlined
#endif

namespace {

using Index = std::int64_t;
using V8 = float __attribute__((vector_size(32)));
using V16 = float __attribute__((vector_size(64)));

// From and to any address.
template <class V>
inline __attribute__((always_inline)) V load(const float* from) {
  V v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}
template <class V>
inline __attribute__((always_inline)) void store(float* to, const V& v) {
  __builtin_memcpy(to, &v, sizeof(v));
}

// Past the caches, to an address that is a multiple of the vector's size: memory is not read before
// it is overwritten. For what nobody reads soon; finish_past() before others may.
#if defined(__x86_64__)
#if defined(__AVX512F__)
inline __attribute__((always_inline)) void store_past(float* to, const V16& v) {
  _mm512_stream_ps(to, reinterpret_cast<const __m512&>(v));
}
#endif
inline __attribute__((always_inline)) void store_past(float* to, const V8& v) {
  _mm256_stream_ps(to, reinterpret_cast<const __m256&>(v));
}
inline void finish_past() { _mm_sfence(); }
#else
template <class V>
inline __attribute__((always_inline)) void store_past(float* to, const V& v) {
  store(to, v);
}
inline void finish_past() {}
#endif

// One fused multiply-add: contraction is on for these files. By value, so that no check of a
// sanitizer comes between product and sum.
template <class V>
inline __attribute__((always_inline)) V multiply_add(V sum, float x, V b) {
  return sum + x * b;
}
template <class V>
inline __attribute__((always_inline)) V multiply_add(V sum, V x, V b) {
  return sum + x * b;
}

// An 8 x 8 transpose: t[j] = the numbers at from[0] + k + j ... from[7] + k + j.
inline __attribute__((always_inline)) void transpose_8x8(const float* const* from, Index k, V8* t) {
  V8 r[8], s[8];
  for (int i = 0; i < 8; ++i) r[i] = load<V8>(from[i] + k);
  for (int i = 0; i < 8; i += 2) {
    s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      r[i + j] = __builtin_shufflevector(s[i + j], s[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      r[i + j + 2] = __builtin_shufflevector(s[i + j], s[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = __builtin_shufflevector(r[i], r[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    t[i + 4] = __builtin_shufflevector(r[i], r[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

}  // namespace

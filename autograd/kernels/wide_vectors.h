// Vectors for inner loops that are compiled once per instruction set. Everything lives in an
// unnamed namespace and calls no inline function from elsewhere: a function compiled for a wide
// processor must never be merged by the linker with its twin for a narrow one.
#pragma once
#include <cstdint>

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

}  // namespace

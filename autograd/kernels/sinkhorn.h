#pragma once
#include <cstdint>

namespace shoal {

// What a hyper-connection derives from its raw projection, for n_hc streams (spec 4.1, 4.5).
enum class Mixing : std::uint8_t {
  kManifold,  // mHC: sigmoid reads and writes, Sinkhorn-normalised mixing
  kHyper,     // unconstrained: the raw values
  kHead,      // reads alone: the collapse before the final norm
};

inline constexpr std::int64_t kMaxMixingIterations = 64;  // backward holds them all

struct MixingShape {
  Mixing kind;
  std::int64_t streams;     // 1 .. 8
  std::int64_t iterations;  // column normalisations, 1 .. kMaxMixingIterations; 20 in V4
  float eps;                // hc_eps
  std::int64_t columns() const { return kind == Mixing::kHead ? streams : streams * (2 + streams); }
};

// For `rows` tokens: u [rows, columns] = the projection times 1/rms;  scale [3] (head: [1]), base
// [columns]. Writes pre [rows, n], post [rows, n], comb [rows, n, n] (head: pre alone), with
//   pre_j = sigmoid(scale_0 u_j + base_j) + eps,  post_k = 2 sigmoid(...),
//   comb = softmax over its second index, + eps, columns normalised, then rows and columns in turn.
void mixing_forward(const MixingShape& shape, std::int64_t rows, const float* u, const float* scale,
                    const float* base, float* pre, float* post, float* comb);

// Given the gradients of pre, post and comb: du [rows, columns]; dscale and dbase are added to.
// The normalisations are computed again instead of being stored.
void mixing_backward(const MixingShape& shape, std::int64_t rows, const float* u,
                     const float* scale, const float* base, const float* dpre, const float* dpost,
                     const float* dcomb, float* du, float* dscale, float* dbase);

// fn.operator()<n>() for n = streams, 1 .. 8: loops over streams unroll.
template <class Fn>
void with_streams(std::int64_t streams, const Fn& fn) {
  switch (streams) {
    case 1:
      return fn.template operator()<1>();
    case 2:
      return fn.template operator()<2>();
    case 3:
      return fn.template operator()<3>();
    case 4:
      return fn.template operator()<4>();
    case 5:
      return fn.template operator()<5>();
    case 6:
      return fn.template operator()<6>();
    case 7:
      return fn.template operator()<7>();
    default:
      return fn.template operator()<8>();
  }
}

}  // namespace shoal

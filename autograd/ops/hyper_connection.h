#pragma once
#include "autograd/kernels/sinkhorn.h"
#include "autograd/tape.h"

namespace shoal {

// Hyper-connections (spec 4): n streams X [N, n, C] around a sublayer.
struct StreamMix {
  Tensor read;  // [N, C]     sum_j pre_j X_j
  Tensor post;  // [N, n]     what the sublayer's output is worth to each stream
  Tensor comb;  // [N, n, n]  the residual mixing, comb[j][k]: from stream j to stream k
};

// v = vec(X[n]),  r = 1 / sqrt(mean(v^2) + norm_eps),  u = r (v fn^T);  pre, post, comb from u as
// in kernels/sinkhorn.h;  read = sum_j pre_j X_j.
//   x [N, n, C]   fn [J, n*C]   base [J]   scale [3] (kHead: [1]),  J = shape.columns()
// For kHead post and comb are null.
StreamMix hc_collapse(Tape& tape, Tensor x, Tensor fn, Tensor base, Tensor scale,
                      const MixingShape& shape, float norm_eps);

// y_k = post_k out + sum_j comb_jk x_j
//   x [N, n, C]   out [N, C]   post [N, n]   comb [N, n, n]   ->   y like x
Tensor hc_expand(Tape& tape, Tensor x, Tensor out, Tensor post, Tensor comb);

// hc_expand and then hc_collapse of its y, in one pass over the streams each way and with the same
// bits: the end of one sublayer and the beginning of the next. Not for kHead.
struct StreamStep {
  Tensor x;  // y of hc_expand
  StreamMix mix;
};
StreamStep hc_expand_collapse(Tape& tape, Tensor x, Tensor out, Tensor post, Tensor comb, Tensor fn,
                              Tensor base, Tensor scale, const MixingShape& shape, float norm_eps);

}  // namespace shoal

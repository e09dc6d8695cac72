#include "autograd/ops/hyper_connection.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/flop_count.h"
#include "autograd/kernels/streams.h"

namespace shoal {
namespace {

constexpr int kMaxStreams = 8;

// Rows of one partial sum of the weight gradient, at least: fewer rows, more of the memory traffic
// is partial sums. By shapes alone.
struct Pieces {
  std::int64_t N, count;
  explicit Pieces(std::int64_t rows)
      : N(rows), count(std::clamp<std::int64_t>(rows / 128, 1, kChunks)) {}
  std::int64_t begin(std::int64_t piece) const { return N * piece / count; }
};

// What a kernel may ask memory for: some rows of t, or nothing where t is null.
Ahead ahead(const Tensor& t, std::int64_t first, std::int64_t rows) {
  if (!t) return {};
  const std::int64_t width = t.shape.numel() / t.shape[0];
  return {t.as<float>() + first * width, rows * width};
}

// The reading half: what the gradient of a block of rows needs besides the cotangents.
struct Collapse {
  Tensor x, fn, base, scale;
  Tensor u;    // [N, J]
  Tensor inv;  // [N]
  Tensor pre;  // [N, n]
  MixingShape shape;
  float norm_eps;
  std::int64_t N() const { return x.shape[0]; }
  std::int64_t n() const { return x.shape[1]; }
  std::int64_t C() const { return x.shape[2]; }
  std::int64_t J() const { return shape.columns(); }
  StreamShape streams() const { return {n(), C(), J()}; }
  bool head() const { return shape.kind == Mixing::kHead; }
  void count_flops(double products) const {  // v fn^T and its gradients
    FlopCount::add_products(products, N(), J(), n() * C());
  }
  const float* row(std::int64_t i) const { return x.as<float>() + i * n() * C(); }

  // At most kProjectRows rows: they are still near when their mixing weights are known.
  // from: those rows of x.
  void forward(const StreamKernels& kernels, const float* packed, std::int64_t first,
               std::int64_t rows, const float* from, const StreamMix& y,
               const AheadList& ahead) const {
    std::array<float, kProjectRows> squares;
    kernels.project(streams(), rows, from, packed, u.row(first), squares.data(), ahead);
    for (std::int64_t i = 0; i < rows; ++i) {
      const float mean =
          squares[static_cast<std::size_t>(i)] / static_cast<float>(n() * C()) + norm_eps;
      const float r = 1.0F / std::sqrt(mean);
      inv.as<float>()[first + i] = r;
      float* to = u.row(first + i);
      for (std::int64_t j = 0; j < J(); ++j) to[j] *= r;
    }
    mixing_forward(shape, rows, u.row(first), scale.as<float>(), base.as<float>(), pre.row(first),
                   head() ? nullptr : y.post.row(first),
                   head() ? nullptr : y.comb.as<float>() + first * n() * n());
    kernels.read(rows, n(), C(), from, pre.row(first), y.read.row(first));
  }
};

// Backward of Collapse, block by block. With g = r du:
//   dX_j += pre_j dread + g fn_j - (r^2 sum(du u) / (n C)) v_j,   dfn = g^T v.
class CollapseGrad {
 public:
  // dy: of read and, but for the head, post and comb. fn, base, scale: where their gradients go.
  CollapseGrad(Tape& tape, const Collapse& s, Cotangents dy, const GradSlot& fn,
               const GradSlot& base, const GradSlot& scale)
      : tape_(tape),
        s_(s),
        dy_(dy),
        fn_(fn),
        base_(base),
        scale_(scale),
        pieces_(s.N()),
        packed_(tape.scratch<float>(by_panels_size(s.streams()))),
        dfn_(tape.scratch<float>(fn ? pieces_.count * by_panels_size(s.streams()) : 1)),
        sums_(tape.scratch<float>(pieces_.count * (3 + s.J()))) {
    if (tape.is_dry()) return;
    pack_by_panels(s.streams(), s.fn.as<float>(), packed_.data());
    std::fill_n(sums_.data(), pieces_.count * (3 + s.J()), 0.0F);
  }

  // Calls block(first row, rows, rows of the next block, piece): blocks of a piece in order.
  template <class Block>
  void for_blocks(const Block& block) const {
    // In chunks, so that a piece finds the same thread and its warm memory in every step.
    for_chunks(pieces_.count, [&](Range pieces) {
      for (std::int64_t piece = pieces.begin; piece < pieces.end; ++piece) {
        const std::int64_t end = pieces_.begin(piece + 1);
        for (std::int64_t first = pieces_.begin(piece); first < end; first += kBackwardRows) {
          const std::int64_t rows = std::min(kBackwardRows, end - first);
          block(first, rows, std::min(kBackwardRows, end - first - rows), piece);
        }
      }
    });
  }

  // dx [rows, n, C] = dx_in (null: zero) + the gradient of those rows; dx null: not wanted.
  void rows(const StreamKernels& kernels, std::int64_t piece, std::int64_t first, std::int64_t rows,
            const float* dx_in, float* dx, const AheadList& ahead) const {
    const std::int64_t n = s_.n(), C = s_.C(), J = s_.J();
    const float* dread = dy_[0] ? dy_[0].row(first) : nullptr;
    std::array<float, kBackwardRows * kMaxStreams> dpre{};
    std::array<float, kBackwardRows * kMaxStreams * kMaxStreams> zeros;
    std::array<float, kBackwardRows * kMaxStreams*(2 + kMaxStreams)> g;
    std::array<float, kBackwardRows> k;
    if (dread != nullptr) kernels.read_dots(rows, n, C, s_.row(first), dread, dpre.data());
    const float *dpost = nullptr, *dcomb = nullptr;
    if (!s_.head()) {
      if (!dy_[1] || !dy_[2]) std::fill(zeros.begin(), zeros.end(), 0.0F);
      dpost = dy_[1] ? dy_[1].as<float>() + first * n : zeros.data();
      dcomb = dy_[2] ? dy_[2].as<float>() + first * n * n : zeros.data();
    }
    float* dscale = sums_.data() + piece * (3 + J);
    mixing_backward(s_.shape, rows, s_.u.row(first), s_.scale.as<float>(), s_.base.as<float>(),
                    dpre.data(), dpost, dcomb, g.data(), dscale, dscale + 3);
    for (std::int64_t i = 0; i < rows; ++i) {
      const float inv = s_.inv.as<float>()[first + i];
      const float* u = s_.u.row(first + i);
      float* g_i = g.data() + i * J;
      float carry = 0.0F;
      for (std::int64_t j = 0; j < J; ++j) {
        carry += g_i[j] * u[j];
        g_i[j] *= inv;
      }
      k[static_cast<std::size_t>(i)] = carry * inv * inv / static_cast<float>(n * C);
    }
    float* dfn = fn_ ? dfn_.data() + piece * by_panels_size(s_.streams()) : nullptr;
    kernels.collapse_backward({.shape = s_.streams(),
                               .rows = rows,
                               .x = s_.row(first),
                               .g = g.data(),
                               .k = k.data(),
                               .pre = s_.pre.row(first),
                               .dread = dread,
                               .fn = packed_.data(),
                               .dx_in = dx_in,
                               .dx = dx,
                               .dfn = dfn,
                               .dfn_add = first > pieces_.begin(piece),
                               .ahead = ahead});
  }

  // After the last block: adds up the pieces, in their order.
  void finish() const {
    if (tape_.is_dry()) return;
    const std::int64_t J = s_.J(), stride = 3 + J;
    if (scale_) write_sums(scale_, s_.scale.shape.numel(), sums_.data(), stride);
    if (base_) write_sums(base_, J, sums_.data() + 3, stride);
    if (!fn_) return;
    const StreamShape shape = s_.streams();
    const std::int64_t panels = (shape.C + kStreamPanel - 1) / kStreamPanel;
    for_tasks(shape.n * panels, [&](std::int64_t panel) {
      const std::int64_t stream = panel / panels, c = panel % panels * kStreamPanel;
      const std::int64_t columns = std::min(kStreamPanel, shape.C - c);
      for (std::int64_t j = 0; j < J; ++j) {
        const float* from = dfn_.data() + (panel * J + j) * kStreamPanel;
        std::array<float, kStreamPanel> sum{};
        for (std::int64_t piece = 0; piece < pieces_.count; ++piece) {
          const float* part = from + piece * by_panels_size(shape);
#pragma omp simd
          for (std::size_t i = 0; i < kStreamPanel; ++i) sum[i] += part[i];
        }
        write_grad(fn_.data() + j * shape.K() + stream * shape.C + c, fn_.beta, columns,
                   [&](std::int64_t i) { return sum[static_cast<std::size_t>(i)]; });
      }
    });
  }

 private:
  void write_sums(const GradSlot& slot, std::int64_t size, const float* first,
                  std::int64_t stride) const {
    for (std::int64_t i = 0; i < size; ++i) {
      float sum = 0.0F;
      for (std::int64_t piece = 0; piece < pieces_.count; ++piece) sum += first[piece * stride + i];
      write_grad(slot.data() + i, slot.beta, 1, [=](std::int64_t) { return sum; });
    }
  }

  Tape& tape_;
  const Collapse& s_;
  Cotangents dy_;
  GradSlot fn_, base_, scale_;
  Pieces pieces_;
  Scratch<float> packed_, dfn_, sums_;
};

struct HcCollapse {
  static constexpr std::string_view kName = "hc_collapse";
  enum Input { kX, kFn, kBase, kScale };
  enum Output { kRead, kPost, kComb };
  using Saved = Collapse;

  static void forward(Tape& tape, const Saved& s, Outputs y) {
    s.count_flops(1);
    const auto packed = tape.scratch<float>(by_terms_size(s.streams()));
    if (tape.is_dry()) return;
    pack_by_terms(s.streams(), s.fn.as<float>(), packed.data());
    const StreamKernels& kernels = stream_kernels();
    const StreamMix mix{y[0], s.head() ? Tensor{} : y[1], s.head() ? Tensor{} : y[2]};
    for_chunks(s.N(), [&](Range rows) {
      for (std::int64_t i = rows.begin; i < rows.end; i += kProjectRows) {
        const std::int64_t some = std::min(kProjectRows, rows.end - i);
        const std::int64_t later = std::min(kProjectRows, rows.end - i - some);
        s.forward(kernels, packed.data(), i, some, s.row(i), mix, {{ahead(s.x, i + some, later)}});
      }
    });
  }

  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    s.count_flops((dx[kX] ? 1 : 0) + (dx[kFn] ? 1 : 0));
    const CollapseGrad grad(tape, s, dy, dx[kFn], dx[kBase], dx[kScale]);
    const StreamKernels& kernels = stream_kernels();
    const std::int64_t width = s.n() * s.C();
    grad.for_blocks(
        [&](std::int64_t first, std::int64_t rows, std::int64_t later, std::int64_t piece) {
          float* to = dx[kX] ? dx[kX].data() + first * width : nullptr;
          grad.rows(kernels, piece, first, rows, dx[kX].beta != 0.0F ? to : nullptr, to,
                    {{ahead(s.x, first + rows, later), ahead(dx[kX].grad, first + rows, later),
                      ahead(dy[kRead], first + rows, later)}});
        });
    grad.finish();
  }
};
const RegisterOp kCollapseRegistered{kOpInfo<HcCollapse>};

// Whether streams of this size are written past the caches: what fits into them had better stay,
// and what does not would only push out the rest. For whole cache lines alone.
bool goes_past_caches(const Tensor& t) {
  constexpr std::size_t kCaches = std::size_t{8} << 20, kLine = kStreamLanes * sizeof(float);
  return t.bytes() > kCaches && t.shape[2] % kStreamLanes == 0 &&
         reinterpret_cast<std::uintptr_t>(t.data) % kLine == 0;
}

// The writing half.
struct Expand {
  Tensor x, out, post, comb;  // as in hc_expand
  std::int64_t n() const { return x.shape[1]; }
  std::int64_t C() const { return x.shape[2]; }

  // y, past: of those rows.
  void forward(const StreamKernels& kernels, std::int64_t first, std::int64_t rows, float* y,
               float* past) const {
    kernels.expand({.rows = rows,
                    .n = n(),
                    .C = C(),
                    .x = x.as<float>() + first * n() * C(),
                    .out = out.row(first),
                    .post = post.row(first),
                    .comb = comb.as<float>() + first * n() * n(),
                    .y = y,
                    .past = past});
  }
  // dx: of x, out, post, comb;  dy: of those rows.
  void backward(const StreamKernels& kernels, std::int64_t first, std::int64_t rows,
                const float* dy, GradSlots dx) const {
    const auto at = [&](std::size_t i, std::int64_t size) {
      return dx[i] ? dx[i].data() + first * size : nullptr;
    };
    const std::int64_t width = n() * C();
    kernels.expand_backward(
        {.rows = rows,
         .n = n(),
         .C = C(),
         .x = x.as<float>() + first * width,
         .out = out.row(first),
         .post = post.row(first),
         .comb = comb.as<float>() + first * n() * n(),
         .dy = dy,
         .dx = at(0, width),
         .dout = at(1, C()),
         .dpost = at(2, n()),
         .dcomb = at(3, n() * n()),
         .dx_add = dx[0].beta != 0.0F,
         .dout_add = dx[1].beta != 0.0F,
         .dpost_add = dx[2].beta != 0.0F,
         .dcomb_add = dx[3].beta != 0.0F,
         .dx_past = dx[0] && dx[0].beta == 0.0F && goes_past_caches(dx[0].grad)});
  }
};

struct HcExpand {
  static constexpr std::string_view kName = "hc_expand";
  using Saved = Expand;

  static void forward(Tape&, const Saved& s, Outputs y) {
    const StreamKernels& kernels = stream_kernels();
    const bool past = goes_past_caches(y[0]);
    for_chunks(s.x.shape[0], [&](Range rows) {
      float* to = y[0].as<float>() + rows.begin * s.n() * s.C();
      s.forward(kernels, rows.begin, rows.end - rows.begin, past ? nullptr : to,
                past ? to : nullptr);
    });
  }
  static void backward(Tape&, const Saved& s, Cotangents dy, GradSlots dx) {
    const StreamKernels& kernels = stream_kernels();
    for_chunks(s.x.shape[0], [&](Range rows) {
      s.backward(kernels, rows.begin, rows.end - rows.begin,
                 dy[0].as<float>() + rows.begin * s.n() * s.C(), dx);
    });
  }
};
const RegisterOp kExpandRegistered{kOpInfo<HcExpand>};

// Streams are written and read again while they are near. In backward the gradient of y lives in a
// block of rows alone: the later half of the tape left its part in dy[0].
struct HcExpandCollapse {
  static constexpr std::string_view kName = "hc_expand_collapse";
  enum Input { kX, kOut, kPost, kComb, kFn, kBase, kScale };
  enum Output { kY, kRead, kNextPost, kNextComb };
  struct Saved {
    Expand expand;
    Collapse collapse;  // of y
  };

  static void forward(Tape& tape, const Saved& s, Outputs y) {
    s.collapse.count_flops(1);
    const auto packed = tape.scratch<float>(by_terms_size(s.collapse.streams()));
    if (tape.is_dry()) return;
    pack_by_terms(s.collapse.streams(), s.collapse.fn.as<float>(), packed.data());
    const StreamKernels& kernels = stream_kernels();
    const StreamMix mix{y[kRead], y[kNextPost], y[kNextComb]};
    const std::int64_t width = s.expand.n() * s.expand.C();
    const bool past = goes_past_caches(y[kY]);
    for_chunks(s.collapse.N(), [&](Range rows) {
      const auto bytes = static_cast<std::size_t>(kProjectRows * width) * sizeof(float);
      auto* scratch = past ? static_cast<float*>(thread_scratch(1, bytes)) : nullptr;
      for (std::int64_t i = rows.begin; i < rows.end; i += kProjectRows) {
        const std::int64_t some = std::min(kProjectRows, rows.end - i);
        const std::int64_t later = std::min(kProjectRows, rows.end - i - some), next = i + some;
        float* to = y[kY].as<float>() + i * width;
        float* near = past ? scratch : to;
        s.expand.forward(kernels, i, some, near, past ? to : nullptr);
        s.collapse.forward(kernels, packed.data(), i, some, near, mix,
                           {{ahead(s.expand.x, next, later), ahead(s.expand.out, next, later),
                             past ? Ahead{} : ahead(y[kY], next, later)}});
      }
    });
  }

  static void backward(Tape& tape, const Saved& s, Cotangents dy, GradSlots dx) {
    s.collapse.count_flops(dx[kFn] ? 2 : 1);
    const CollapseGrad grad(tape, s.collapse, dy.subspan(kRead), dx[kFn], dx[kBase], dx[kScale]);
    const StreamKernels& kernels = stream_kernels();
    const std::int64_t width = s.expand.n() * s.expand.C();
    grad.for_blocks(
        [&](std::int64_t first, std::int64_t rows, std::int64_t later, std::int64_t piece) {
          const float* summed = dy[kY] ? dy[kY].as<float>() + first * width : nullptr;
          auto* total = static_cast<float*>(
              thread_scratch(1, static_cast<std::size_t>(kBackwardRows * width) * sizeof(float)));
          const std::int64_t next = first + rows;
          const Tensor& y = s.collapse.x;
          grad.rows(
              kernels, piece, first, rows, summed, total,
              {{ahead(s.expand.x, first, rows), ahead(s.expand.out, first, rows),
                ahead(y, next, later), ahead(dy[kY], next, later), ahead(dy[kRead], next, later)}});
          s.expand.backward(kernels, first, rows, total, dx);
        });
    grad.finish();
  }
};
const RegisterOp kBothRegistered{kOpInfo<HcExpandCollapse>};

void check_collapse(Tensor x, Tensor fn, Tensor base, Tensor scale, const MixingShape& shape) {
  CHECK(x.shape.rank == 3 && x.shape[1] == shape.streams && shape.streams >= 1 &&
            shape.streams <= kMaxStreams,
        "hc_collapse: x ", x.shape, " for ", shape.streams, " streams (1 to ", kMaxStreams, ")");
  const std::int64_t n = x.shape[1], C = x.shape[2], J = shape.columns();
  const bool head = shape.kind == Mixing::kHead;
  CHECK(
      (fn.shape == Shape{J, n * C} && base.shape == Shape{J} && scale.shape == Shape{head ? 1 : 3}),
      "hc_collapse: fn ", fn.shape, ", base ", base.shape, ", scale ", scale.shape, " for x ",
      x.shape);
  CHECK(shape.iterations >= 1 && shape.iterations <= kMaxMixingIterations,
        "hc_collapse: ", shape.iterations, " iterations; 1 to ", kMaxMixingIterations);
}

void check_expand(Tensor x, Tensor out, Tensor post, Tensor comb) {
  CHECK(x.shape.rank == 3 && x.shape[1] <= kMaxStreams, "hc_expand: x ", x.shape);
  const std::int64_t N = x.shape[0], n = x.shape[1], C = x.shape[2];
  CHECK((out.shape == Shape{N, C} && post.shape == Shape{N, n} && comb.shape == Shape{N, n, n}),
        "hc_expand: x ", x.shape, ", out ", out.shape, ", post ", post.shape, ", comb ",
        comb.shape);
}

}  // namespace

StreamMix hc_collapse(Tape& tape, Tensor x, Tensor fn, Tensor base, Tensor scale,
                      const MixingShape& shape, float norm_eps) {
  check_collapse(x, fn, base, scale, shape);
  const std::int64_t N = x.shape[0], n = x.shape[1], C = x.shape[2], J = shape.columns();
  StreamMix mix{tape.alloc({N, C}), {}, {}};
  const Collapse saved{
      x, fn, base, scale, tape.alloc({N, J}), tape.alloc({N}), tape.alloc({N, n}), shape, norm_eps};
  if (shape.kind == Mixing::kHead) {
    tape.apply<HcCollapse>(saved, {x, fn, base, scale}, {&mix.read});
  } else {
    mix.post = tape.alloc({N, n});
    mix.comb = tape.alloc({N, n, n});
    tape.apply<HcCollapse>(saved, {x, fn, base, scale}, {&mix.read, &mix.post, &mix.comb});
  }
  return mix;
}

StreamStep hc_expand_collapse(Tape& tape, Tensor x, Tensor out, Tensor post, Tensor comb, Tensor fn,
                              Tensor base, Tensor scale, const MixingShape& shape, float norm_eps) {
  check_expand(x, out, post, comb);
  check_collapse(x, fn, base, scale, shape);
  CHECK(shape.kind != Mixing::kHead, "hc_expand_collapse: a head has no next sublayer");
  const std::int64_t N = x.shape[0], n = x.shape[1], C = x.shape[2], J = shape.columns();
  StreamStep y{tape.alloc(x.shape),
               {tape.alloc({N, C}), tape.alloc({N, n}), tape.alloc({N, n, n})}};
  const Collapse collapse{
      y.x,   fn,      base, scale, tape.alloc({N, J}), tape.alloc({N}), tape.alloc({N, n}),
      shape, norm_eps};
  tape.apply<HcExpandCollapse>({{x, out, post, comb}, collapse},
                               {x, out, post, comb, fn, base, scale},
                               {&y.x, &y.mix.read, &y.mix.post, &y.mix.comb});
  return y;
}

Tensor hc_expand(Tape& tape, Tensor x, Tensor out, Tensor post, Tensor comb) {
  check_expand(x, out, post, comb);
  Tensor y = tape.alloc(x.shape);
  tape.apply<HcExpand>({x, out, post, comb}, {x, out, post, comb}, {&y});
  return y;
}

}  // namespace shoal

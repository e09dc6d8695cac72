#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "autograd/kernels/key_set.h"
#include "autograd/tape.h"

namespace shoal {

// How attention-like ops cut queries: into blocks that go by together, and the blocks into kParts
// parts whose gradients for keys are summed apart. Both depend on shapes alone.
inline constexpr std::int64_t kParts = 16;

struct QueryRange {
  std::int64_t begin, end;
};

class QueryBlocks {
 public:
  // row_floats: of the tile of numbers that one query needs.
  QueryBlocks(std::int64_t N, std::int64_t row_floats)
      : N_(N),
        rows_(std::clamp<std::int64_t>(kTile / std::max<std::int64_t>(1, row_floats), 1,
                                       kMostRows)) {}
  std::int64_t count() const { return (N_ + rows_ - 1) / rows_; }
  QueryRange operator[](std::int64_t block) const {
    return {block * rows_, std::min(N_, (block + 1) * rows_)};
  }
  std::int64_t part_begin(std::int64_t part) const { return count() * part / kParts; }
  QueryRange part(std::int64_t part) const {
    return {std::min(N_, part_begin(part) * rows_), std::min(N_, part_begin(part + 1) * rows_)};
  }

 private:
  // A tile should stay in the second-level cache; more rows share more keys, but also multiply more
  // pairs that are hidden.
  static constexpr std::int64_t kTile = 131072, kMostRows = 32;
  std::int64_t N_, rows_;
};

// Gradients of keys that many queries see: every part of the queries adds, block after block, into
// sums of its own for the keys that it may see; then each key's sums are added in the order of
// parts. Memory is kParts times the keys at most, whatever the number of queries.
class KeyParts {
 public:
  KeyParts(Tape& tape, const KeySet& set, const QueryBlocks& blocks, bool wanted)
      : KeyParts(tape, wanted ? layout(set, blocks) : Layout{}, set.D, wanted) {}

  void clear(std::int64_t part) const {
    if (!wanted_) return;
    std::fill_n(sums(part), (span(part).end - span(part).begin) * D_, 0.0F);
  }
  // See KeyBlock::add_to_keys.
  void add(std::int64_t part, const KeyBlock& block, std::int64_t per, const float* weights,
           std::int64_t ld, const float* a) const {
    if (wanted_) block.add_to_keys(per, weights, ld, a, sums(part), span(part).begin);
  }
  void add_up(const GradSlot& out) const {
    if (!wanted_) return;
    for_chunks(out.grad.shape.rows(), [&](Range keys) {
      for (std::int64_t j = keys.begin; j < keys.end; ++j) {
        float beta = out.beta;
        for (std::int64_t part = 0; part < kParts; ++part) {
          if (j < span(part).begin || j >= span(part).end) continue;
          const float* from = sums(part) + (j - span(part).begin) * D_;
          write_grad(out.data() + j * D_, beta, D_, [=](std::int64_t d) { return from[d]; });
          beta = 1.0F;
        }
        if (beta == 0.0F) std::fill_n(out.data() + j * D_, D_, 0.0F);  // nobody may see it
      }
    });
  }

 private:
  struct Layout {
    std::array<KeySpan, kParts> spans{};
    std::array<std::int64_t, kParts + 1> offsets{};  // in keys
  };
  static Layout layout(const KeySet& set, const QueryBlocks& blocks) {
    Layout l;
    for (std::size_t part = 0; part < kParts; ++part) {
      const QueryRange rows = blocks.part(static_cast<std::int64_t>(part));
      if (rows.begin < rows.end) l.spans[part] = key_span(set, rows.begin, rows.end);
      l.offsets[part + 1] = l.offsets[part] + l.spans[part].end - l.spans[part].begin;
    }
    return l;
  }
  KeyParts(Tape& tape, const Layout& layout, std::int64_t D, bool wanted)
      : layout_(layout),
        D_(D),
        wanted_(wanted),
        sums_(tape.scratch<float>(layout.offsets.back() * D)) {}

  const KeySpan& span(std::int64_t part) const {
    return layout_.spans[static_cast<std::size_t>(part)];
  }
  float* sums(std::int64_t part) const {
    return sums_.data() + layout_.offsets[static_cast<std::size_t>(part)] * D_;
  }

  Layout layout_;
  std::int64_t D_;
  bool wanted_;
  Scratch<float> sums_;
};

}  // namespace shoal

#pragma once
#include "autograd/ops/compress.h"
#include "layers/batch_tensors.h"
#include "layers/config.h"
#include "layers/params.h"

namespace shoal {

// What becomes of an entry's numbers at last (spec 2.4): FP8 without the rotary dimensions, or of
// an indexer's keys Hadamard and FP4.
enum class EntryRounding { kNone, kFp8, kFp4 };

// Turns blocks of tokens into entries of width D (spec 2.4): x [N, C] -> [M, D].
class Compressor {
 public:
  // prefix: "layers.3.attn.compressor." or "layers.3.attn.indexer.compressor."
  Compressor(ParamStore& store, const std::string& prefix, const ModelConfig& config,
             std::int64_t width, std::int64_t rate, bool overlap, double std);
  // Values and gates of every token [N, 2 * coff * D]; entries can be made of them block by block.
  Tensor project(Tape& tape, Tensor x_NC) const;
  Tensor pool(Tape& tape, Tensor projected, const EntryRows& rows, RopeTable rope,
              EntryRounding rounding = EntryRounding::kNone) const;

  std::int64_t width() const { return norm_.value.shape.numel(); }  // of an entry
  std::int64_t projected_width() const { return projection_.value.shape.rows(); }
  std::int64_t rate() const { return ape_.value.shape.rows(); }
  bool overlaps() const { return overlap_; }

 private:
  bool overlap_;
  std::int64_t rotary_;
  float eps_;
  ModelParam &projection_, &ape_, &norm_;
};

}  // namespace shoal

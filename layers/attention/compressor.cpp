#include "layers/attention/compressor.h"

#include "autograd/ops/hadamard_fp4.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/round_entries.h"
#include "layers/norm.h"

namespace shoal {
namespace {

// wkv and wgate lie together, so that one product serves both; each half of them is a matrix of its
// own to Muon.
ModelParam& add_projection(ParamStore& store, const std::string& prefix, std::int64_t C,
                           std::int64_t width, std::int64_t halves, double std) {
  const std::int64_t rows = halves * width;
  const std::vector<std::int64_t> blocks(static_cast<std::size_t>(halves), width);
  return store.add({.name = prefix + "projection",
                    .shape = {2 * rows, C},
                    .role = ParamRole::kCompressor,
                    .std = std,
                    .pieces = {{prefix + "wkv.weight", 0, {rows, C}, blocks},
                               {prefix + "wgate.weight", rows * C, {rows, C}, blocks}}});
}

}  // namespace

Compressor::Compressor(ParamStore& store, const std::string& prefix, const ModelConfig& config,
                       std::int64_t width, std::int64_t rate, bool overlap, double std)
    : overlap_(overlap),
      rotary_(config.qk_rope_head_dim),
      eps_(static_cast<float>(config.rms_norm_eps)),
      projection_(add_projection(store, prefix, config.hidden_size, width, overlap ? 2 : 1, std)),
      ape_(store.add({.name = prefix + "ape",
                      .shape = {rate, (overlap ? 2 : 1) * width},
                      .role = ParamRole::kCompressor,
                      .matrix = false,
                      .decay = false,
                      .init = Init::kZeros})),
      norm_(add_norm(store, prefix + "norm.weight", width)) {}

Tensor Compressor::project(Tape& tape, Tensor x_NC) const {
  return linear(tape, x_NC, projection_.weight());
}

Tensor Compressor::pool(Tape& tape, Tensor projected, const EntryRows& rows, RopeTable rope,
                        EntryRounding rounding) const {
  const Tensor entries =
      compress(tape, projected, ape_.weight(), norm_.weight(), rows, overlap_, rope, eps_);
  if (rounding == EntryRounding::kFp4) return hadamard_fp4(tape, entries, width());
  if (rounding == EntryRounding::kFp8) return round_entries(tape, entries, width() - rotary_);
  return entries;
}

}  // namespace shoal

#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "layers/config.h"

namespace shoal {

class Model;

// What a model costs beside others: counted from the list of its parameters, which needs no
// memory, and from the formulas of spec 1.4 and 11.

// Where parameters lie, by their published names.
enum class Part {
  kEmbedding,
  kHead,
  kAttention,       // projections, norms, sinks
  kCompressor,      // of entries, and of the indexers' keys
  kIndexer,         // queries
  kIndexerWeights,  // of its heads
  kExperts,
  kRouter,  // with its balancing bias
  kMixing,  // hyper-connections
  kNorms,   // of blocks, and the last one
  kMtp,     // the whole module
};
inline constexpr std::size_t kCostParts = 11;
const char* name_of(Part part);

struct ParameterCount {
  std::array<std::int64_t, kCostParts> parts{}, active{};  // active: what one token uses
  std::int64_t operator[](Part part) const { return parts[static_cast<std::size_t>(part)]; }
  std::int64_t active_of(Part part) const { return active[static_cast<std::size_t>(part)]; }
  std::int64_t with_mtp() const;
  std::int64_t total() const { return with_mtp() - (*this)[Part::kMtp]; }
  // Of one token: everything but MTP, the input table and the experts that it does not use.
  std::int64_t total_active() const;
};
// Parameters and router biases; hash tables are no parameters. The model needs no memory yet.
ParameterCount count_parameters(Model& model);

// Bytes that a token sequence of length `context` leaves in the cache (spec 11.2): FP8 entries with
// BF16 rotary dimensions, FP4 indexer keys.
double kv_bytes(const ModelConfig& config, std::int64_t context);

// How FLOPs of different formats add up to "FP8 FLOPs" (spec 11.3): attention in BF16 counts twice
// and the indexer in FP4 half in all of them. D counts every product with weights once; E counts
// twice what is in BF16 (head, indexer head weights, compressors, mixing, router); H counts the
// last three of these four times, because they stay in FP32.
enum class Convention { kD, kE, kH };
inline constexpr std::array kConventions = {Convention::kD, Convention::kE, Convention::kH};
const char* name_of(Convention convention);

// FLOPs of decoding one token with `context` tokens in the cache, without MTP.
struct DecodeFlops {
  double linear = 0;     // products with weights: 2 for each active parameter
  double attention = 0;  // queries with keys and values
  double indexer = 0;    // queries with indexer keys
  double total() const { return linear + attention + indexer; }
};
DecodeFlops decode_flops(const ModelConfig& config, const ParameterCount& parameters,
                         std::int64_t context);
double equivalent_flops(const ModelConfig& config, const ParameterCount& parameters,
                        std::int64_t context, Convention convention);

// DeepSeek-V3.2, to compare with: MLA over 2,048 chosen tokens, an indexer over all of them.
namespace v32 {
double kv_bytes(std::int64_t context);
DecodeFlops decode_flops(std::int64_t context);
double equivalent_flops(std::int64_t context, Convention convention);
}  // namespace v32

}  // namespace shoal

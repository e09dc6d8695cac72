// bench decode.
#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <nlohmann/json.hpp>

#include "autograd/base/parallel.h"
#include "layers/decode/decode.h"
#include "train/cli/commands.h"
#include "train/config/load_config.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

constexpr std::int64_t kWarmup = 4;

struct DecodeSpeed {
  double tokens_per_second = 0.0;
  std::size_t cache_bytes = 0;
};

// Random weights; a cache of made-up numbers, for whose bytes and time it does not matter whose
// they are; then tokens one by one. The median of their times: other programs disturb some.
DecodeSpeed measure(const ModelConfig& config, std::int64_t context, std::int64_t tokens) {
  Model model(config);
  model.allocate();
  model.initialise(1, {});
  Tape tape;
  SequenceCache cache(model, IndexerStage::kSparse, context + kWarmup + tokens);
  cache.pretend(tape, context, 1);
  model.ropes(context + kWarmup + tokens);
  std::vector<double> seconds;
  for (std::int64_t i = 0; i < kWarmup + tokens; ++i) {
    const auto token = static_cast<std::int32_t>(i % config.vocab_size);
    const DecodeChunk chunk{&cache, std::span(&token, 1)};
    const auto begin = std::chrono::steady_clock::now();
    decode(model, tape, std::span(&chunk, 1));
    tape.end_microbatch();
    if (i < kWarmup) continue;
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  const auto middle = seconds.begin() + tokens / 2;
  std::nth_element(seconds.begin(), middle, seconds.end());
  return {1.0 / *middle, cache.bytes()};
}

}  // namespace

int bench_decode_command(const BenchDecodeArguments& args) {
  ModelConfig model = load_config(args.config, args.overrides, {.needs_data = false}).model;
  const std::int64_t most = args.context + args.tokens + kWarmup;
  model.max_position_embeddings = std::max(model.max_position_embeddings, most);
  const DecodeSpeed own = measure(model, args.context, args.tokens);
  Json json;
  json["context"] = args.context;
  json["threads"] = thread_count();
  json["decode_tokens_per_second"] = own.tokens_per_second;
  json["cache_bytes"] = own.cache_bytes;
  json["raw_cache_bytes"] = raw_cache_bytes(model, most);
  json["multi_head_cache_bytes"] = multi_head_cache_bytes(model, most);
  if (args.dense) {
    ModelConfig dense = model;
    std::fill(dense.layer_types.begin(), dense.layer_types.end(), AttentionKind::kFull);
    const DecodeSpeed full = measure(dense, args.context, args.tokens);
    json["dense_tokens_per_second"] = full.tokens_per_second;
    json["dense_cache_bytes"] = full.cache_bytes;
    json["times_dense"] = own.tokens_per_second / full.tokens_per_second;
    json["cache_share_of_dense"] =
        static_cast<double>(own.cache_bytes) / static_cast<double>(full.cache_bytes);
  }
  if (args.json) {
    std::cout << line_of(json) << '\n';
    return 0;
  }
  for (const auto& [key, value] : json.items()) {
    std::cout << std::left << std::setw(26) << key << value.dump() << '\n';
  }
  return 0;
}

}  // namespace shoal

// bench decode.
#include <algorithm>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "layers/decode/decode.h"
#include "train/cli/commands.h"
#include "train/config/load_config.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

// Tokens come in rounds, the model's and full attention's in turn: a busy machine disturbs both.
// The first tokens of a round, which bring the weights back into the caches, do not count.
constexpr std::int64_t kRounds = 4, kWarmup = 3;

// Random weights, and a cache of made-up numbers: its size and a token's time do not depend on what
// the numbers are.
class Subject {
 public:
  Subject(const ModelConfig& config, std::int64_t context, std::int64_t most_tokens)
      : model_(config), cache_(allocated(), IndexerMode::kSparse, most_tokens) {
    model_.initialise(1, {});
    model_.set_precision(model_.precision());  // of these weights
    model_.ropes(most_tokens);
    cache_.pretend(tape_, context, 1);
  }

  void run(std::int64_t tokens) {
    for (std::int64_t i = 0; i < kWarmup + tokens; ++i) {
      const auto token = static_cast<std::int32_t>(i % model_.config().vocab_size);
      const DecodeChunk chunk{&cache_, std::span(&token, 1)};
      const auto begin = std::chrono::steady_clock::now();
      decode(model_, tape_, std::span(&chunk, 1));
      tape_.end_microbatch();
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
      if (i >= kWarmup) seconds_.push_back(time.count());
    }
  }
  double tokens_per_second() {  // of the median
    const auto middle = seconds_.begin() + static_cast<std::ptrdiff_t>(seconds_.size() / 2);
    std::nth_element(seconds_.begin(), middle, seconds_.end());
    return 1.0 / *middle;
  }
  std::size_t cache_bytes() const { return cache_.bytes(); }

 private:
  const Model& allocated() {
    model_.allocate();
    model_.set_precision(model_.config().precision_at(std::numeric_limits<std::int64_t>::max()));
    return model_;
  }

  Model model_;
  Tape tape_;
  SequenceCache cache_;
  std::vector<double> seconds_;
};

}  // namespace

int bench_decode_command(const BenchDecodeArguments& args) {
  ModelConfig model = load_config(args.config, args.overrides, {.needs_data = false}).model;
  const std::int64_t of_a_round = (args.tokens + kRounds - 1) / kRounds;
  const std::int64_t most = args.context + kRounds * (kWarmup + of_a_round);
  model.max_position_embeddings = std::max(model.max_position_embeddings, most);
  ModelConfig full = model;
  std::fill(full.layer_types.begin(), full.layer_types.end(), AttentionKind::kFull);
  std::optional<Subject> made, dense;
  try {
    made.emplace(model, args.context, most);
    if (args.dense) dense.emplace(full, args.context, most);
  } catch (const std::bad_alloc&) {
    reject(Failure::kUsage, "bench decode: no memory for caches of ", args.context,
           " tokens: lower --context");
  }
  Subject& own = *made;
  for (std::int64_t round = 0; round < kRounds; ++round) {
    own.run(of_a_round);
    if (dense) dense->run(of_a_round);
  }
  Json json;
  json["context"] = args.context;
  json["threads"] = thread_count();
  json["decode_tokens_per_second"] = own.tokens_per_second();
  json["cache_bytes"] = own.cache_bytes();
  json["raw_cache_bytes"] = raw_cache_bytes(model, most);
  json["multi_head_cache_bytes"] = multi_head_cache_bytes(model, most);
  if (dense) {
    json["baseline"] = "the same model with full attention in every layer, on as many threads";
    json["dense_tokens_per_second"] = dense->tokens_per_second();
    json["dense_cache_bytes"] = dense->cache_bytes();
    json["times_dense"] = own.tokens_per_second() / dense->tokens_per_second();
    json["cache_share_of_dense"] =
        static_cast<double>(own.cache_bytes()) / static_cast<double>(dense->cache_bytes());
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

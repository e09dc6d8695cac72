// Every number of the schema at both ends of what it may be, and beyond: a run begins with it, or
// the configuration is refused. Nothing else.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "layers/decode/sequence_cache.h"
#include "train/config/load_config.h"
#include "train/config/schema/schema.h"
#include "train/config/schema/values.h"
#include "train/generate/evaluator.h"
#include "train/generate/generator.h"
#include "train/run/memory_estimate.h"
#include "train/trainer.h"

namespace shoal {
namespace {

// Every mechanism, so that every key means something.
const char kConfig[] =
    "model:\n"
    "  hidden_size: 16\n"
    "  layer_types: [sliding_attention, compressed_sparse_attention,\n"
    "                heavily_compressed_attention, full_attention]\n"
    "  mlp_layer_types: [hash_moe, moe, dense, moe]\n"
    "  max_position_embeddings: 64\n"
    "  num_attention_heads: 2\n"
    "  head_dim: 8\n"
    "  qk_rope_head_dim: 4\n"
    "  q_lora_rank: 8\n"
    "  o_groups: 2\n"
    "  o_lora_rank: 8\n"
    "  sliding_window: 8\n"
    "  compress_rates: {compressed_sparse_attention: 2, heavily_compressed_attention: 4}\n"
    "  index_n_heads: 2\n"
    "  index_head_dim: 8\n"
    "  index_topk: 2\n"
    "  hc_mult: 2\n"
    "  n_routed_experts: 4\n"
    "  moe_intermediate_size: 8\n"
    "  rope_parameters:\n"
    "    main: {rope_type: yarn, factor: 2, original_max_position_embeddings: 32}\n"
    "    compress: {rope_type: yarn, factor: 2, original_max_position_embeddings: 32}\n"
    "data: {train: [nowhere.txt], sequence_length: 16}\n"
    "train: {steps: 10, batch_tokens: 32, micro_batch: 1, sample_tokens: 2}\n";

constexpr std::size_t kMostBytes = std::size_t{64} << 20;  // of a step that the test takes

// What a trainer does with a configuration: everything is built, and a step taken where it is
// small.
void begin(const RunConfig& config) {
  const RunPlan plan(config);
  Model model(require_weights(config));
  model.allocate();
  const MemoryEstimate memory = estimate_memory(model, config, plan.sizes());
  require_memory(memory, config, largest(plan.sizes()));
  if (memory.total() > kMostBytes) return;
  Tape tape;
  StepRunner runner(model, tape, step_options(config, plan.most_micro_batches()));
  model.initialise(config.run.seed, {});
  const BatchSizes& sizes = plan.sizes().front();
  if (sizes.batch_tokens > 4096) return;
  runner.set_micro_batches(sizes.micro_batches());
  std::vector<Batch> batches;
  for (std::int64_t i = 0; i < sizes.micro_batches(); ++i) {
    batches.push_back(shape_batch(sizes.micro_batch, sizes.sequence_length, config.model.vocab_size,
                                  static_cast<std::uint64_t>(i)));
  }
  for (std::int64_t done = 0; done < 2; ++done) runner.step(batches, plan.at(done));
  const std::string prompt = "ab";
  GenerateConfig sampling;
  sampling.tokens = std::min<std::int64_t>(config.train.sample_tokens, 4);
  generate(model, tape, *make_tokenizer("bytes"), std::span(&prompt, 1), sampling,
           plan.at(0).indexer);
}

std::string place_of(const std::string& key, const std::string& value) { return key + "=" + value; }

// "": it began, or was refused as the user's mistake or for numbers that went bad.
std::string fault_of(const std::string& key, const std::string& value) {
  try {
    begin(parse_config(kConfig, "test", {place_of(key, value)}, {.needs_data = true}));
  } catch (const Error& error) {
    const bool users = error.why() == Failure::kUsage || error.why() == Failure::kNumbers;
    return users ? "" : place_of(key, value) + ": " + error.what();
  } catch (const std::exception& error) {
    return place_of(key, value) + ": " + error.what();
  }
  return "";
}

std::vector<std::string> extremes_of(const Key& key) {
  std::vector<std::string> values = {"0", "1", "3"};
  for (const double end : {key.range.low, key.range.high}) {
    if (!std::isfinite(end)) continue;
    values.push_back(number_text(end));
    if (key.form == Form::kInteger) {
      values.push_back(number_text(end - 1));
      values.push_back(number_text(end + 1));
    } else {
      values.push_back(number_text(std::nextafter(end, -1e300)));
      values.push_back(number_text(std::nextafter(end, 1e300)));
    }
  }
  if (key.form == Form::kInteger) {
    for (const char* value : {"9223372036854775807", "-9223372036854775808", "1048576"}) {
      values.emplace_back(value);
    }
  } else {
    for (const char* value :
         {"5e-324", "1e-300", "1.1754944e-38", "1e-20", "0.9999999", "1e6", "3.4028234e38",
          "3.5e38", "1.7976931348623157e308", "-1e-300", "-3.4028234e38"}) {
      values.emplace_back(value);
    }
  }
  return values;
}

TEST(Extremes, OfEveryNumberBeginARunOrAreRefused) {
  ASSERT_EQ(fault_of("log.every", "1"), "");
  int keys = 0;
  for (const Key& key : schema()) {
    const bool number =
        key.form == Form::kInteger || key.form == Form::kNumber || key.form == Form::kValidation;
    if (!number) continue;
    ++keys;
    for (const std::string& value : extremes_of(key)) EXPECT_EQ(fault_of(key.path, value), "");
  }
  EXPECT_GT(keys, 60);
}

// Numbers inside of lists have ranges, too.
TEST(Extremes, InsideOfLists) {
  for (const char* n : {"0", "1", "16", "32", "2147483647", "2147483648", "1048576"}) {
    for (const char* field : {"from_step", "sequence_length", "batch_tokens", "micro_batch"}) {
      EXPECT_EQ(fault_of("train.stages", concat("[{from_step: 5, ", field, ": ", n, "}]")), "");
    }
    EXPECT_EQ(
        fault_of("indexer.stage", concat("[{stage: dense}, {stage: sparse, from_step: ", n, "}]")),
        "");
    for (const char* task : {"needle", "mqar", "copy"}) {
      for (const char* field : {"pairs", "queries", "key_length", "value_length", "min_distance",
                                "max_distance", "length", "episodes"}) {
        EXPECT_EQ(fault_of("data.train", concat("[{task: ", task, ", ", field, ": ", n, "}]")), "");
      }
    }
  }
  for (const char* weight : {"5e-324", "1e-300", "1e-38", "1", "3.4e38", "1e300"}) {
    EXPECT_EQ(fault_of("data.train", concat("[a, {path: b, weight: ", weight, "}]")), "");
  }
}

}  // namespace
}  // namespace shoal

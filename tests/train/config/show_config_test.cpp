#include "train/config/show_config.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/train/config/config_files.h"
#include "train/config/schema/schema.h"

namespace shoal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RunConfig small() { return parse_config("model: {num_hidden_layers: 2}\n", "small", {}, {}); }

// A value other than `now` that the key allows, as an override would give it.
std::string another_value(const Key& key, const RunConfig& now) {
  if (key.path == "model.num_hidden_layers") return "3";
  if (key.path == "model.layer_types") return "[full_attention, heavily_compressed_attention]";
  if (key.path == "model.mlp_layer_types") return "[hash_moe, dense]";
  if (key.path == "model.num_attention_heads") return "6";
  if (key.path == "model.vocab_size") return "300";
  if (key.path == "model.bos_token_id" || key.path == "model.eos_token_id") return "2";
  if (key.path == "model.qk_rope_head_dim") return "16";
  if (key.path == "model.o_groups") return "4";
  if (key.path == "run.seed") return "18446744073709551557";
  if (key.path == "data.sequence_length") return "128";
  if (key.path == "train.batch_tokens") return "4096";
  if (key.path == "train.micro_batch") return "2";
  if (key.path == "optim.end_lr") return "1.2345678901234567e-05";
  if (key.path == "model.fp8.kv") return "qat";  // ptq is refused by name
  if (key.path == "stability.spike.threshold") return "7.2345678901234567";
  switch (key.form) {
    case Form::kInteger:
      return std::to_string(key.value(now).get<std::int64_t>() +
                            (key.value(now).get<double>() >= key.range.high ? -1 : 1));
    case Form::kNumber:
      return key.range.high <= 1 ? "0.12345678901234568" : "1.2345678901234567";
    case Form::kBool:
      return key.value(now).get<bool>() ? "false" : "true";
    case Form::kText:
      return "other-2.x_y";
    case Form::kPath:
      return "'some where/[x]: \"#é'";
    case Form::kChoice:
      return key.value(now) == key.choices.front() ? key.choices.back() : key.choices.front();
    case Form::kTexts:
      return "[\"In the\\n\\t beginning \", 'true', '5', \"\\x01\\e\\u2028\", '#', \"'\\\"\"]";
    case Form::kCorpora:
      return "['a b.txt', {path: 'null', weight: 0.1}, \"x\\ty\"]";
    case Form::kValidation:
      return "['a b.txt', {path: 'null'}, \"x\\ty\"]";
    case Form::kBatchStages:
      return "[{from_step: 3, sequence_length: 64, batch_tokens: 1024, micro_batch: 2}]";
    case Form::kFaults:
      return "[{kind: lr_pulse, at_step: 7, steps: 3, factor: 0.1}, {kind: bad_batch, at_step: 9}]";
    case Form::kStages:
      return "[{stage: dense, from_step: 0}, {stage: warmup, from_step: 20}]";
    case Form::kLayers:
      break;
  }
  return "";
}

// Changing a key may need company.
std::vector<std::string> overrides_for(const Key& key, const RunConfig& now) {
  std::vector<std::string> overrides = {key.path + "=" + another_value(key, now)};
  if (key.path == "model.bos_token_id" || key.path == "model.eos_token_id") {
    overrides.emplace_back("data.tokenizer=tokenizer.json");
  }
  return overrides;
}

TEST(ToYaml, EveryKeyReadsBackToTheSameStruct) {
  const ConfigFiles files;
  const RunConfig before = small();
  EXPECT_EQ(parse_config(to_yaml(before), "shown", {}, {}), before);
  int changed = 0;
  for (const Key& key : schema()) {
    if (another_value(key, before).empty()) continue;
    SCOPED_TRACE(key.path);
    const RunConfig after =
        parse_config("model: {num_hidden_layers: 2}\n", "small", overrides_for(key, before), {});
    EXPECT_NE(key.value(after), key.value(before));
    EXPECT_FALSE(after == before);
    const std::string shown = to_yaml(after);
    EXPECT_EQ(parse_config(shown, "shown", {}, {}), after) << shown;
    EXPECT_EQ(to_yaml(parse_config(shown, "shown", {}, {})), shown);
    ++changed;
  }
  EXPECT_GT(changed, 60);
}

TEST(ToYaml, NumbersAreShortAndExact) {
  RunConfig c = small();
  c.optim.lr = 0.1;
  c.optim.eps = 1e-20;
  c.train.tokens = 20e6;
  const std::string shown = to_yaml(c);
  EXPECT_THAT(shown, HasSubstr("  lr: 0.1\n"));
  EXPECT_THAT(shown, HasSubstr("  eps: 1e-20\n"));
  EXPECT_THAT(shown, HasSubstr("  tokens: 20000000\n"));
  c.optim.lr = 0.1 + 1e-17 + 1e-16;
  EXPECT_EQ(parse_config(to_yaml(c), "shown", {}, {}).optim.lr, c.optim.lr);
}

TEST(ToYaml, OriginsAreNamed) {
  const ConfigFiles files;
  files.write("a.yaml", "model:\n  num_hidden_layers: 2\n  residual: plain\n  hc_mult: 4\n");
  const std::string shown =
      to_yaml_with_origins(load_config_with_origins("a.yaml", {"optim.lr=0.5"}, {}));
  const auto line = [&](const std::string& key) {
    const std::size_t at = shown.find(" " + key + ": ");
    EXPECT_NE(at, std::string::npos) << key;
    return shown.substr(at + 1, shown.find('\n', at) - at - 1);
  };
  EXPECT_THAT(line("num_hidden_layers"), HasSubstr("# a.yaml:2"));
  EXPECT_THAT(line("lr"), HasSubstr("# argument 'optim.lr=0.5'"));
  EXPECT_THAT(line("clip"), HasSubstr("# default"));
  EXPECT_THAT(line("layer_types"), HasSubstr("# derived"));
  EXPECT_THAT(line("hc_mult"), HasSubstr("hc_mult: 1"));  // plain streams are one
  EXPECT_THAT(line("hc_mult"), HasSubstr("# derived"));
  EXPECT_THAT(line("dir"), HasSubstr(files.path("runs/run")));
  // The comments do not change what it says.
  EXPECT_EQ(parse_config(shown, "shown", {}, {}), load_config("a.yaml", {"optim.lr=0.5"}, {}));
}

TEST(ConfigDiff, ListsWhatDiffers) {
  const RunConfig a = small();
  RunConfig b = a;
  EXPECT_TRUE(config_diff(a, b).empty());
  b.optim.lr = 0.25;
  b.model.residual = ResidualKind::kPlain;
  b.data.train = {{"/x", 2.0}};
  const auto differences = config_diff(a, b);
  ASSERT_EQ(differences.size(), 3U);
  EXPECT_EQ(differences[0].key, "model.residual");
  EXPECT_EQ(differences[0].a + ">" + differences[0].b, "mhc>plain");
  EXPECT_EQ(differences[1].b, "[{path: /x, weight: 2}]");
  EXPECT_EQ(differences[2].a + ">" + differences[2].b, "0.001>0.25");
}

TEST(KeysThatChangeNumbers, LeaveOutWhereAndHowOftenThingsAreWritten) {
  const RunConfig a = small();
  RunConfig b = a;
  b.run.name = "other";
  b.run.dir = "/elsewhere";
  b.train.eval_every = b.train.eval_sequences = 7;
  b.train.sample_prompts = {"x"};
  b.train.sample_tokens = 3;
  b.train.recompute = RecomputePolicy::kBlock;
  b.train.minutes = 9;
  b.checkpoint = {.every_steps = 5, .keep = 1, .step = 50};
  b.log = {.every = 3, .tensorboard = false};
  b.stability.on_bad_numbers = BadNumbers::kSkip;
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre());
  EXPECT_EQ(config_hash(a), config_hash(b));

  b.optim.lr = 0.5;
  b.run.seed = 2;
  b.train.micro_batch = 2;
  b.data.sequence_length = 128;
  EXPECT_THAT(keys_that_change_numbers(a, b),
              ElementsAre("run.seed", "data.sequence_length", "train.micro_batch", "optim.lr"));
  EXPECT_NE(config_hash(a), config_hash(b));
  EXPECT_EQ(config_hash(a).size(), 64U);
}

// What texts hold is told by their fingerprint.
TEST(KeysThatChangeNumbers, LeaveOutWhereTextsLie) {
  RunConfig a = small(), b = small();
  a.data.train = {{"/a"}, {"/b"}};
  b.data.train = {{"/c"}};
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre());
  EXPECT_EQ(config_hash(a), config_hash(b));
  b.data.train = {{"/c", 2.0}, {"/d"}};
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre("data.train"));
  a.data.train = {{"/a", 2.0}, {"/b"}};
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre());
  // What is held out is trained on no more; named files change nothing of the training.
  b.data.validation_share = 0.0;
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre("data.validation"));
  a.data.validation_share = 0.0;
  a.data.validation_files = {{"/v"}};
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre());
  TaskConfig task = default_task(TaskKind::kNeedle);
  task.haystack = "/h";
  a.data.train = {{"", 1.0, task}};
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre("data.train"));
  task.haystack = "/moved";
  b.data.train = {{"", 1.0, task}};
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre());
  task.pairs = 5;
  b.data.train = {{"", 1.0, task}};
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre("data.train"));
}

TEST(KeysThatChangeNumbers, TheLengthCountsWhileTheRateDecays) {
  RunConfig a = small(), b = small();
  b.train.steps = 100;
  b.train.tokens = 1e6;
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre("train.steps", "train.tokens"));
  EXPECT_NE(config_hash(a), config_hash(b));
  a.optim.decay_share = b.optim.decay_share = 0;
  EXPECT_THAT(keys_that_change_numbers(a, b), ElementsAre());
  EXPECT_EQ(config_hash(a), config_hash(b));
}

}  // namespace
}  // namespace shoal

#include "train/config/load_config.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <string>

#include "tests/train/config/config_files.h"

namespace shoal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const char kSmall[] = "model: {num_hidden_layers: 2}\n";

std::string problems_of(const std::string& text, const std::vector<std::string>& overrides = {},
                        bool needs_data = false) {
  const ConfigFiles files;
  files.write("a.yaml", text);
  return error_of([&] { load_config("a.yaml", overrides, {.needs_data = needs_data}); });
}

TEST(LoadConfig, ReadsEverySectionAndKeepsDefaults) {
  const ConfigFiles files;
  files.write("a.yaml",
              "run: {name: try, seed: 18446744073709551615}\n"
              "model:\n"
              "  layer_types: [sliding_attention, sliding_attention]\n"
              "  mlp_layer_types: [hash_moe, dense]\n"
              "  residual: hc\n"
              "  rope_theta: 5e3\n"
              "  init: {std: 0.01}\n"
              "data:\n"
              "  train: [x.txt, {path: sub/../y.jsonl, weight: 2}, /abs/z/]\n"
              "  validation: [v.txt]\n"
              "train: {tokens: 20e6, steps: 1e3, batch_tokens: 1.6384e4}\n"
              "optim: {eps: 1e-20, matrices: adamw}\n"
              "log: {tensorboard: false}\n");
  const RunConfig c = load_config("a.yaml", {}, {.needs_data = true});
  EXPECT_EQ(c.run.name, "try");
  EXPECT_EQ(c.run.seed, 18446744073709551615U);
  EXPECT_EQ(c.run.dir, files.path("runs/try"));
  EXPECT_EQ(c.model.num_hidden_layers, 2);
  EXPECT_EQ(c.model.mlp_layer_types.at(1), FeedForwardKind::kDense);
  EXPECT_EQ(c.model.residual, ResidualKind::kHyper);
  EXPECT_EQ(c.model.rope_main.theta, 5000.0);
  EXPECT_EQ(c.model.init.std, 0.01);
  const std::vector<CorpusSpec> corpora = {
      {files.path("x.txt"), 1.0}, {files.path("y.jsonl"), 2.0}, {"/abs/z", 1.0}};
  EXPECT_EQ(c.data.train, corpora);
  EXPECT_EQ(c.data.validation_files.at(0).path, files.path("v.txt"));
  EXPECT_EQ(c.data.validation_share, 0.0);
  EXPECT_EQ(c.train.tokens, 20e6);
  EXPECT_EQ(c.train.steps, 1000);
  EXPECT_EQ(c.train.batch_tokens, 16384);
  EXPECT_EQ(c.optim.eps, 1e-20);
  EXPECT_EQ(c.optim.matrices, MatrixOptimizer::kAdamw);
  EXPECT_FALSE(c.log.tensorboard);
  EXPECT_EQ(c.optim.lr, RunConfig().optim.lr);
}

TEST(LoadConfig, SaysEverythingAtOnceInTheOrderOfTheFile) {
  EXPECT_EQ(problems_of("run: {seed: -1}\n"
                        "optm:\n"
                        "  lr: 1\n"
                        "model:\n"
                        "  hidden_size: wide\n"
                        "  layer_types: [sliding, sliding_attention]\n"
                        "optim:\n"
                        "  weigth_decay: 0.1\n"
                        "  lr: 1e-3\n"
                        "  lr: 2e-3\n"
                        "  clip: -1\n"
                        "lr: 5\n"
                        "log: {every: 0}\n",
                        {"train.step=5", "loss.mtp=x"}, true),
            "a.yaml:1:13: run.seed: '-1' is out of range; give a whole number from 0 to "
            "18446744073709551615\n"
            "a.yaml:2:1: optm: unknown key; did you mean 'optim'?\n"
            "a.yaml:5:16: model.hidden_size: 'wide' is not a whole number; give a whole number "
            "from 1 to 2147483647\n"
            "a.yaml:6:17: model.layer_types: 'sliding' is not known; did you mean "
            "'sliding_attention'?\n"
            "a.yaml:8:3: optim.weigth_decay: unknown key; did you mean 'weight_decay'?\n"
            "a.yaml:10:3: optim.lr: given twice, first in line 9; keep one of them\n"
            "a.yaml:11:9: optim.clip: -1 is out of range; give a number from 0\n"
            "a.yaml:12:1: lr: unknown key; did you mean 'optim.lr'?\n"
            "a.yaml:13:14: log.every: 0 is out of range; give a whole number from 1 to 2147483647\n"
            "a.yaml: data.train: no text to train on; name files or folders, such as "
            "[corpora/kjv.txt]\n"
            "a.yaml: train.steps: the run has no end; set train.steps, train.tokens or "
            "train.minutes\n"
            "argument 'train.step=5': train.step: unknown key; did you mean 'steps'?\n"
            "argument 'loss.mtp=x': loss.mtp: 'x' is not a number; give a number from 0");
}

struct BadValue {
  const char* line;  // below "model:"
  const char* says;
};

TEST(LoadConfig, ValuesAreWhatTheyLookLike) {
  const BadValue cases[] = {
      {"hidden_size: 010", "'010' has a leading zero"},
      {"hidden_size: -010", "'-010' has a leading zero"},
      {"rms_norm_eps: 00.5", "'00.5' has a leading zero"},
      {"hidden_size: 0x10", "'0x10' is not a decimal number"},
      {"hidden_size: 0o17", "'0o17' is not a decimal number"},
      {"hidden_size: 1_000", "'1_000' has an underscore"},
      {"hidden_size: \"64\"", "'64' is text; remove the quotes"},
      {"hidden_size: 12.5", "'12.5' is not a whole number"},
      {"hidden_size: 1e-3", "'1e-3' is not a whole number"},
      {"hidden_size: 64 wide", "'64 wide' is not a whole number"},
      {"hidden_size: 99999999999999999999", "is out of range"},
      {"hidden_size: 1e300", "is out of range"},
      {"hidden_size: 1e999", "too large or too small for a double"},
      {"hidden_size: 2147483648", "2147483648 is out of range"},
      {"hidden_size: [64]", "has a list; give a whole number"},
      {"hidden_size: {a: 1}", "has a map; give a whole number"},
      {"hidden_size:", "has no value; give a whole number"},
      {"hidden_size: ~", "has no value"},
      {"hidden_size: true", "'true' is not a whole number"},
      {"hc_eps: .nan", "'.nan' is not a number"},
      {"hc_eps: nan", "'nan' is not finite"},
      {"hc_eps: -inf", "'-inf' is not finite"},
      {"hc_eps: 1e-999", "too large or too small for a double"},
      {"hc_eps: -1e-6", "-1e-6 is out of range; give a number from 0"},
      {"rms_norm_eps: 0", "0 is out of range; give a number above 0"},
      {"norm_topk_prob: yes", "'yes' is not true or false; write true"},
      {"norm_topk_prob: False", "'False' is not true or false; write false"},
      {"norm_topk_prob: 1", "'1' is not true or false; write true"},
      {"norm_topk_prob: \"true\"", "write true, without quotes"},
      {"norm_topk_prob: [true]", "has a list; give true or false"},
      {"scoring_func: softmx", "'softmx' is not known; did you mean 'softmax'?"},
      {"scoring_func: tanh", "use one of sqrtsoftplus, sigmoid, softmax"},
      {"layer_types: {a: b}", "has a map; write a list such as [window x2, (csa, hca) x4]"},
      {"layer_types: [full_atention, sliding_attention]",
       "'full_atention' is not known; did you mean 'full_attention'?"},
      {"init: 5", "model.init: has '5'; give a map of keys"},
      {"index_topk: 0", "model.index_topk: 0 is out of range"},
      {"compress_rates: {sparse: 4}", "model.compress_rates.sparse: unknown key"},
      {"rope_parameters: {compress: {rope_theta: 1}}", "1 is out of range; give a number above 1"},
      {"num_key_value_heads: 1", "unknown key"},
      {"extends: b.yaml", "belongs at the top of a file"},
  };
  for (const BadValue& bad : cases) {
    const std::string line = bad.line;
    const std::string text = concat(
        "model:\n  ", line.find("layer_types") == 0 ? "" : "num_hidden_layers: 2\n  ", line, "\n");
    const std::string said = problems_of(text);
    EXPECT_THAT(said, HasSubstr(bad.says)) << line;
    EXPECT_THAT(said, HasSubstr("a.yaml:")) << line;
    EXPECT_THAT(said, Not(HasSubstr("\n"))) << line;
  }
}

// What DeepSeek-V4 has and Shoal has not is refused by its name, not as a slip of the pen.
TEST(LoadConfig, WhatCannotBeHonouredIsNamed) {
  const BadValue cases[] = {
      {"  expert_dtype: fp4", "model.expert_dtype: 'fp4' cannot be honoured"},
      {"  expert_dtype: bfloat16", "model.expert_dtype: 'bfloat16' cannot be honoured"},
      {"  quantization_config: {quant_method: fp8}",
       "model.quantization_config: quantized weights cannot be read or trained"},
      {"dist: {expert_parallel: 2}", "dist: training over several processes does not exist yet"},
  };
  for (const BadValue& bad : cases) {
    const std::string said =
        problems_of(concat("model:\n  num_hidden_layers: 2\n", bad.line, "\n"));
    EXPECT_THAT(said, HasSubstr(bad.says)) << bad.line;
    EXPECT_THAT(said, HasSubstr("a.yaml:3")) << bad.line;
    EXPECT_THAT(said, HasSubstr("leave it out")) << bad.line;
    EXPECT_THAT(said, Not(HasSubstr("\n"))) << bad.line;
  }
  const ConfigFiles files;
  files.write("a.yaml",
              "model:\n  num_hidden_layers: 2\n  fp4: {experts: off, indexer: off}\n"
              "  expert_dtype: float32\n  quantization_config: null\n");
  EXPECT_NO_THROW(load_config("a.yaml", {}, {.needs_data = false}));
}

TEST(LoadConfig, ListsOfFilesAreChecked) {
  const auto with = [](const std::string& data) {
    return problems_of(kSmall + ("data: {" + data + "}\n"));
  };
  EXPECT_THAT(with("train: x.txt"), HasSubstr("give a list of paths, such as [corpora/kjv.txt]"));
  EXPECT_THAT(with("train: [{path: a, wieght: 2}]"),
              HasSubstr("data.train.wieght: unknown key; did you mean 'weight'?"));
  EXPECT_THAT(with("train: [{weight: 2}]"),
              HasSubstr("no path; give {path: FILE, weight: NUMBER}"));
  EXPECT_THAT(with("train: [{path: a, weight: 0}]"), HasSubstr("0 is out of range"));
  EXPECT_THAT(with("train: ['']"), HasSubstr("is empty"));
  EXPECT_THAT(with("train: [~/x.txt]"), HasSubstr("'~' is not expanded here"));
  EXPECT_THAT(with("train: [{path: $HOME/x.txt, weight: 2}]"),
              HasSubstr("'$HOME' is not expanded here"));
  EXPECT_THAT(with("train: [\"a\\0b\"]"), HasSubstr("contains a zero byte"));
  EXPECT_THAT(with("train: [[a]]"), HasSubstr("has a list; give text"));
  EXPECT_THAT(with("validation: []"), HasSubstr("an empty list"));
  EXPECT_THAT(with("validation: [a, {path: b, weight: 2}]"), HasSubstr("a weight means nothing"));
  EXPECT_THAT(with("validation: 1"),
              HasSubstr("1 is out of range; give a number from 0 and below 1"));
}

TEST(LoadConfig, ImpossibleCombinationsStandWhereTheyWereWritten) {
  EXPECT_EQ(problems_of("model:\n"
                        "  num_hidden_layers: 2\n"
                        "  o_groups: 3\n"
                        "  num_experts_per_tok: 20\n"
                        "  qk_rope_head_dim: 7\n"
                        "  max_position_embeddings: 100\n"
                        "  vocab_size: 100\n"
                        "data: {sequence_length: 300}\n"
                        "train: {batch_tokens: 1000}\n"
                        "optim: {end_lr: 1}\n"
                        "run: {name: a/b}\n"),
            "a.yaml:3:13: model.o_groups: 3 does not divide num_attention_heads 4; use a divisor "
            "of it\n"
            "a.yaml:4:24: model.num_experts_per_tok: 20 chosen of n_routed_experts 16; use at most "
            "n_routed_experts\n"
            "a.yaml:5:21: model.qk_rope_head_dim: 7 is odd, and rotary dimensions come in pairs; "
            "use an even number\n"
            "a.yaml:7:15: model.vocab_size: 100 is too small for data.tokenizer bytes; use 258\n"
            "a.yaml:8:25: data.sequence_length: 300 is longer than model.max_position_embeddings "
            "100; shorten the sequences or raise that key\n"
            "a.yaml:10:17: optim.end_lr: 1 is above optim.lr 0.001; use at most that\n"
            "a.yaml:11:13: run.name: 'a/b' is no plain name; use up to 100 letters, digits, '.', "
            "'_' and '-', a letter or digit first");
  EXPECT_EQ(problems_of(kSmall + std::string("train: {batch_tokens: 1000}\n")),
            "a.yaml:2:23: train.batch_tokens: 1000 is not a multiple of data.sequence_length 512; "
            "use 512");
  EXPECT_EQ(problems_of(kSmall + std::string("train: {micro_batch: 3}\n")),
            "a.yaml:2:22: train.micro_batch: 3 does not divide the 16 sequences of a step (8192 "
            "tokens of 512); use 2");
  // A default is at fault: the place is that of the key that was given.
  EXPECT_EQ(problems_of(kSmall, {"data.sequence_length=4096"}),
            "argument 'data.sequence_length=4096': train.micro_batch: 4 does not divide the 2 "
            "sequences of a step (8192 tokens of 4096); use 2");
}

TEST(LoadConfig, CompressedLayersAreConfigured) {
  const ConfigFiles files;
  files.write(
      "a.yaml",
      "model:\n"
      "  layer_types: [sliding_attention, compressed_sparse_attention,\n"
      "    heavily_compressed_attention, full_attention]\n"
      "  compress_rates: {compressed_sparse_attention: 3, heavily_compressed_attention: 9}\n"
      "  index_n_heads: 2\n"
      "  index_head_dim: 48\n"
      "  index_topk: 5\n"
      "  compress_rope_theta: 77\n"
      "loss: {index_kl: 0.25}\n"
      "indexer: {stage: warmup}\n");
  const RunConfig c = load_config("a.yaml", {}, {});
  EXPECT_EQ(c.model.num_hidden_layers, 4);
  EXPECT_EQ(c.model.layer_types.at(3), AttentionKind::kFull);
  EXPECT_EQ(c.model.compress_rate(AttentionKind::kCompressedSparse), 3);
  EXPECT_EQ(c.model.compress_rate(AttentionKind::kHeavilyCompressed), 9);
  EXPECT_EQ(c.model.compress_rate(AttentionKind::kFull), 0);
  EXPECT_EQ(c.model.index_n_heads, 2);
  EXPECT_EQ(c.model.index_head_dim, 48);
  EXPECT_EQ(c.model.index_topk, 5);
  EXPECT_EQ(c.model.rope_compress.theta, 77.0);
  EXPECT_EQ(c.loss.index_kl, 0.25);
  EXPECT_EQ(c.indexer.modes, (std::vector<IndexerSpec>{{IndexerMode::kWarmup, 0}}));
  EXPECT_EQ(problems_of(kSmall, {"model.layer_types=[compressed_sparse_attention, full_attention]",
                                 "model.index_head_dim=30"}),
            "argument 'model.index_head_dim=30': model.index_head_dim: 30 is narrower than "
            "qk_rope_head_dim 32; use at least that");
}

TEST(LoadConfig, StagesOfTheIndexer) {
  const RunConfig c = parse_config("model: {num_hidden_layers: 2}\n", "a.yaml",
                                   {"indexer.stage=[{stage: dense}, {stage: warmup, from_step: 3}, "
                                    "{stage: sparse, from_step: 7}]"},
                                   {});
  const auto dense = IndexerMode::kDense, warmup = IndexerMode::kWarmup,
             sparse = IndexerMode::kSparse;
  EXPECT_EQ(c.indexer.modes, (std::vector<IndexerSpec>{{dense, 0}, {warmup, 3}, {sparse, 7}}));
  EXPECT_EQ(RunConfig().indexer.modes, (std::vector<IndexerSpec>{{sparse, 0}}));

  const BadValue cases[] = {
      {"sparze", "'sparze' is not known; did you mean 'sparse'?"},
      {"[]", "an empty list; name a stage"},
      {"{stage: dense}", "has a map"},
      {"[dense]", "an entry needs stage and from_step, such as {stage: sparse, from_step: 100}"},
      {"[{from_step: 3}]", "an entry needs stage and from_step"},
      {"[{stage: dense}, {stage: sparse}]", "an entry needs stage and from_step"},
      {"[{stage: dense, from_step: 4}]", "the first stage begins at step 0"},
      {"[{stage: dense}, {stage: sparse, from_step: 0}]", "stages need rising from_step"},
      {"[{stage: dense}, {stage: warmup, from_step: 9}, {stage: sparse, from_step: 9}]",
       "stages need rising from_step"},
      {"[{stage: dense, until: 4}]", "unknown key 'until'; use stage and from_step"},
      {"[{stage: dense}, {stage: sparse, from_step: soon}]", "'soon' is not a whole number"},
      {"[{stage: dense}, {stage: sparse, from_step: -1}]", "-1 is out of range"},
      {"[{stage: tense}]", "'tense' is not known; did you mean 'dense'?"},
  };
  for (const BadValue& bad : cases) {
    const std::string said = problems_of(kSmall + concat("indexer: {stage: ", bad.line, "}\n"));
    EXPECT_THAT(said, HasSubstr("indexer.stage: ")) << bad.line;
    EXPECT_THAT(said, HasSubstr(bad.says)) << bad.line;
    EXPECT_THAT(said, HasSubstr("a.yaml:2:")) << bad.line;
    EXPECT_THAT(said, Not(HasSubstr("\n"))) << bad.line;
  }
}

TEST(LoadConfig, Quantization) {
  const auto model = [](const std::string& rest, bool trains = false) {
    return problems_of("model: {layer_types: [compressed_sparse_attention], qk_rope_head_dim: 8" +
                           rest + "}\ndata: {train: [x.txt]}\ntrain: {steps: 1}\n",
                       {}, trains);
  };
  EXPECT_EQ(model(", fp4: {experts: qat, indexer: qat, from_step: 100}, fp8: {kv: qat}", true), "");
  EXPECT_EQ(model(", fp4: {experts: ptq, indexer: ptq}"), "");
  EXPECT_THAT(model(", fp4: {experts: ptq}", true),
              HasSubstr("model.fp4.experts: ptq rounds in evaluation and generation alone; train "
                        "with off, then `shoal eval RUN model.fp4.experts=ptq`"));
  EXPECT_THAT(model(", fp4: {indexer: ptq}", true), HasSubstr("model.fp4.indexer: ptq rounds in"));
  EXPECT_THAT(model(", fp8: {kv: ptq}", true), HasSubstr("model.fp8.kv: ptq rounds in"));
  EXPECT_THAT(model(", fp4: {experts: on}"), HasSubstr("model.fp4.experts: "));
  EXPECT_THAT(model(", fp4: {from_step: -1}"), HasSubstr("model.fp4.from_step: "));
  EXPECT_THAT(model(", index_head_dim: 24, fp4: {indexer: qat}"),
              HasSubstr("model.index_head_dim: 24 has no Hadamard matrix here, which fp4.indexer "
                        "qat needs; use a power of two up to 1024, or fp4.indexer off"));
  EXPECT_THAT(model(", index_head_dim: 2048, fp4: {indexer: ptq}"),
              HasSubstr("use a power of two up to 1024"));
  EXPECT_EQ(model(", index_head_dim: 24, fp4: {experts: qat}"), "");
}

TEST(LoadConfig, SomethingMustBeThere) {
  EXPECT_EQ(problems_of(""),
            "a.yaml: model: missing; say at least 'model: {num_hidden_layers: 4}'");
  EXPECT_THAT(problems_of("- a\n"),
              HasSubstr("a.yaml:1:1: holds a list; a configuration is a map"));
  EXPECT_THAT(problems_of("model: {}\n"), HasSubstr("model.layer_types: no layer is named"));
  EXPECT_EQ(problems_of("model: {num_hidden_layers: 2}\noptim:\n#  lr: 1\n"), "");
  EXPECT_EQ(
      problems_of("data: {train: [x]}\ntrain: {minutes: 1}\n", {"model.num_hidden_layers=2"}, true),
      "");
}

TEST(LoadConfig, FilesThatAreNone) {
  const ConfigFiles files;
  const auto load = [](const std::string& path) {
    return error_of([&] { load_config(path, {}, {}); });
  };
  EXPECT_EQ(load("none.yaml"), "none.yaml: cannot be read: No such file or directory");
  EXPECT_EQ(load("."), ".: is a folder; name the YAML file in it");
  EXPECT_EQ(load(""), ": cannot be read: No such file or directory");
  EXPECT_EQ(load("/dev/zero"), "/dev/zero: is not a regular file");
}

TEST(LoadConfig, APipeIsRefusedInsteadOfWaitedFor) {
  const ConfigFiles files;
  ASSERT_EQ(::mkfifo("pipe.yaml", 0600), 0);
  files.write("a.yaml", "extends: pipe.yaml\n");
  EXPECT_EQ(error_of([] { load_config("pipe.yaml", {}, {}); }), "pipe.yaml: is not a regular file");
  EXPECT_EQ(error_of([] { load_config("a.yaml", {}, {}); }),
            "a.yaml:1:10: extends: 'pipe.yaml' is not a regular file; the path is relative to this "
            "file's folder");
}

// What is easily named instead of a YAML file says what it is and what to do, in one line.
TEST(LoadConfig, OtherKindsOfFilesAreNamed) {
  const ConfigFiles files;
  const auto load = [](const std::string& path) {
    const std::string said = error_of([&] { load_config(path, {}, {}); });
    EXPECT_THAT(said, Not(HasSubstr("\n"))) << path;
    EXPECT_THAT(said, testing::StartsWith(path + ": ")) << path;
    return said;
  };
  files.write("hub/config.json",
              "{\n  \"model_type\": \"deepseek_v4\",\n  \"hidden_size\": 64,\n  \"a\": 1\n}\n");
  EXPECT_EQ(load("hub/config.json"),
            "hub/config.json: is a model's config.json: put its keys under model:, or make a run "
            "of its weights with `shoal import`");
  EXPECT_THAT(load("hub"), HasSubstr("is a model's folder; make a run of it with `shoal import"));
  files.write("run/config.yaml", kSmall);
  files.write("run/metrics.jsonl", "{\"kind\":\"step\",\"step\":1}\n{\"kind\":\"step\"}\n");
  EXPECT_THAT(load("run"), HasSubstr("is a run's folder; go on with `shoal resume run`"));
  EXPECT_THAT(load("run/metrics.jsonl"), HasSubstr("is a run's metrics"));
  files.write("step-00000001/manifest.json", "{\n\"step\": 1,\n\"manifest_sha256\": \"x\"\n}\n");
  files.write("step-00000001/state.h5", "\x89HDF\r\n\x1a\n and more");
  EXPECT_THAT(load("step-00000001"), HasSubstr("is a checkpoint"));
  EXPECT_THAT(load("step-00000001/manifest.json"), HasSubstr("is a checkpoint's manifest"));
  EXPECT_THAT(load("step-00000001/state.h5"), HasSubstr("is a checkpoint's state"));
  files.write("x.tokens", "SHOALTOK and more");
  EXPECT_THAT(load("x.tokens"), HasSubstr("is a token file"));
  files.write("hub/model.safetensors", std::string("\x10\0\0\0\0\0\0\0{}", 10));
  EXPECT_THAT(load("hub/model.safetensors"), HasSubstr("holds a model's weights"));
  files.write("hub/index.json", "{\"metadata\": {}, \"weight_map\": {}}");
  EXPECT_THAT(load("hub/index.json"), HasSubstr("is an index of a model's weights"));
  // JSON is YAML: a configuration may be written so.
  files.write("a.json", "{\"model\": {\"num_hidden_layers\": 2}}");
  EXPECT_EQ(error_of([] { load_config("a.json", {}, {}); }), "");
}

// Only a shell expands them: taken literally they would name new folders.
TEST(LoadConfig, ShorthandsOfShellsAreRefused) {
  for (const std::string key :
       {"run.dir", "data.tokenizer", "train.init_from", "data.train", "data.validation"}) {
    for (const std::string path : {"~", "~/z", "~bob/z", "$HOME/z", "${HOME}/z", "/scratch/$USER/z",
                                   "runs/try-$SLURM_JOB_ID", "a/${X:-1}", "$_"}) {
      const bool list = key == "data.train" || key == "data.validation";
      const std::string value = list ? "[\"" + path + "\"]" : "\"" + path + "\"";
      const std::string said = problems_of(kSmall, {key + "=" + value});
      EXPECT_THAT(said, HasSubstr(key + ": ")) << path;
      EXPECT_THAT(said, HasSubstr("is not expanded here, only by a shell; write the path out"))
          << key << ' ' << path;
    }
  }
  EXPECT_THAT(problems_of(kSmall, {"data.train=[{task: needle, haystack: $HOME/x}]"}),
              HasSubstr("'$HOME' is not expanded"));
  EXPECT_THAT(problems_of("extends: $HOME/a.yaml\n" + std::string(kSmall)),
              HasSubstr("extends: '$HOME/a.yaml': '$HOME' is not expanded"));
}

TEST(LoadConfig, DollarsThatAreNoShorthandStay) {
  const ConfigFiles files;
  files.write("a.yaml", kSmall);
  files.write("$there/x.txt", "text");
  files.write("~name", "text");
  for (const std::string path :
       {"cost$5", "a$", "$", "$1", "$there/x.txt", "$there/new", "~name"}) {
    const RunConfig c = load_config("a.yaml", {"run.dir=\"" + path + "\""}, {});
    EXPECT_EQ(c.run.dir, files.path(path));
  }
}

// A refused value hides only what follows from it.
TEST(LoadConfig, AllErrorsComeAtOnce) {
  const std::string said = problems_of(
      "model:\n"
      "  num_hidden_layers: 2\n"
      "  hc_mult: 9\n"
      "  qk_rope_head_dim: 31\n"
      "  num_attention_heads: 6\n"
      "  o_groups: 4\n"
      "  mlp_layer_types: [moe]\n"
      "  num_experts_per_tok: 99\n"
      "  bos_token_id: 300\n"
      "data: {sequence_length: 1}\n"
      "optim: {lr: x, end_lr: 5}\n"
      "train: {bach_tokens: 4}\n");
  for (const char* part :
       {"model.hc_mult: 9 is out of range", "model.qk_rope_head_dim: 31 is odd",
        "model.o_groups: 4 does not divide", "model.mlp_layer_types: 1 entries for 2 layers",
        "model.num_experts_per_tok: 99 chosen of", "model.bos_token_id: 300 is out of range",
        "data.sequence_length: 1 is too short", "optim.lr: 'x' is not a number",
        "train.bach_tokens: unknown key"}) {
    EXPECT_THAT(said, HasSubstr(part));
  }
  EXPECT_THAT(said, Not(HasSubstr("end_lr")));  // nobody knows what lr was meant to be
  EXPECT_EQ(problems_of("optim: {lr: x}\n"),
            "a.yaml:1:13: optim.lr: 'x' is not a number; give a number above 0\n"
            "a.yaml: model: missing; say at least 'model: {num_hidden_layers: 4}'");
}

TEST(LoadConfig, AValueIsNotMeasuredAgainstOneThatWasRefused) {
  const auto model = [](const std::string& keys) {
    return problems_of("model: {num_hidden_layers: 2, " + keys + "}\n");
  };
  EXPECT_EQ(model("head_dim: x, qk_rope_head_dim: 128"),
            "a.yaml:1:41: model.head_dim: 'x' is not a whole number; give a whole number from 1 to "
            "2147483647");
  EXPECT_THAT(model("head_dimm: 128, qk_rope_head_dim: 128"), Not(HasSubstr("wider")));
  EXPECT_THAT(model("n_routed_experts: x, num_experts_per_tok: 64"), Not(HasSubstr("chosen")));
  EXPECT_THAT(model("vocab_size: x, eos_token_id: 999"), Not(HasSubstr("use 0 to 257")));
  EXPECT_THAT(model("n_routed_experts: x, hidden_size: 2147483647, vocab_size: 2147483647"),
              Not(HasSubstr("multiply")));
}

TEST(LoadConfig, OverridesAreReadLikeTheFile) {
  const ConfigFiles files;
  files.write("a.yaml", "model: {num_hidden_layers: 2}\noptim: {lr: 1e-2, clip: 2}\n");
  const RunConfig c =
      load_config("a.yaml",
                  {"optim.lr=3e-4", "optim.end_lr=1e-5", "model.hc_mult=2", "run.dir=sub/x",
                   "data.train=[a, {path: b, weight: 3}]", "train={steps: 5}",
                   "train.sample_prompts=['a=b', c]", "model.rope_theta=7", "optim.lr=5e-4"},
                  {.needs_data = true});
  EXPECT_EQ(c.optim.lr, 5e-4);  // the last one counts
  EXPECT_EQ(c.optim.clip, 2.0);
  EXPECT_EQ(c.model.hc_mult, 2);
  EXPECT_EQ(c.run.dir, files.path("sub/x"));
  EXPECT_EQ(c.data.train.at(1).weight, 3.0);
  EXPECT_EQ(c.train.steps, 5);
  EXPECT_EQ(c.train.sample_prompts, (std::vector<std::string>{"a=b", "c"}));
  EXPECT_EQ(c.model.rope_main.theta, 7.0);
}

TEST(LoadConfig, BadOverridesAreNamed) {
  EXPECT_EQ(
      problems_of(kSmall, {"optim.lr", "optim..lr=3", "=3", ".a=1", "a.=1", "optm.lr=3",
                           "optim.clip=", "loss=5", "extends=b.yaml", "optim.beta1=[",
                           "model.hc_mult=9", "log.every: 5=3", "optim.eps=1\n---\n2"}),
      "argument 'optim.lr': no '='; write key=value, such as optim.lr=3e-4\n"
      "argument 'optim..lr=3': 'optim..lr' is no key; write section.key=value, such as "
      "optim.lr=3e-4\n"
      "argument '=3': '' is no key; write section.key=value, such as optim.lr=3e-4\n"
      "argument '.a=1': '.a' is no key; write section.key=value, such as optim.lr=3e-4\n"
      "argument 'a.=1': 'a.' is no key; write section.key=value, such as optim.lr=3e-4\n"
      "argument 'optm.lr=3': optm: unknown key; did you mean 'optim'?\n"
      "argument 'optim.clip=': optim.clip: has no value; give a number from 0\n"
      "argument 'loss=5': loss: has '5'; give a map of keys\n"
      "argument 'extends=b.yaml': extends: cannot be overridden; put it at the top of a file\n"
      "argument 'optim.beta1=[': a key must be a plain word, found a list; put it in quotes, "
      "or close its bracket\n"
      "argument 'model.hc_mult=9': model.hc_mult: 9 is out of range; give a whole number "
      "from 1 to 8\n"
      "argument 'log.every: 5=3': 'log.every: 5' is no key; write section.key=value, such as "
      "optim.lr=3e-4\n"
      "argument 'optim.eps=1\\x0a---\\x0a2': a second document begins; one file holds one "
      "configuration");
}

TEST(LoadConfig, ExtendsMergesMapsAndReplacesTheRest) {
  const ConfigFiles files;
  files.write("base/root.yaml",
              "model: {num_hidden_layers: 4, hidden_size: 64, mlp_layer_types: [moe, moe, moe, "
              "moe]}\noptim: {lr: 1e-2, clip: 3}\ndata: {train: [a, b]}\n");
  files.write("base/middle.yaml", "extends: root.yaml\noptim:\n  lr: 2e-2\nloss:\n");
  files.write("a.yaml",
              "extends: base/middle.yaml\nmodel: {hidden_size: 32, rope_theta: 99}\n"
              "data: {train: [c]}\n");
  const LoadedConfig loaded = load_config_with_origins("a.yaml", {"optim.clip=5"}, {});
  EXPECT_EQ(loaded.config.model.num_hidden_layers, 4);
  EXPECT_EQ(loaded.config.model.hidden_size, 32);
  EXPECT_EQ(loaded.config.model.rope_main.theta, 99.0);
  EXPECT_EQ(loaded.config.optim.lr, 2e-2);
  EXPECT_EQ(loaded.config.optim.clip, 5.0);
  // Extended files are found beside the extending one; data is found from where one stands.
  EXPECT_EQ(loaded.config.data.train, (std::vector<CorpusSpec>{{files.path("c"), 1.0}}));
  EXPECT_EQ(loaded.origins.at("optim.lr").text(), "base/middle.yaml:3:7");
  EXPECT_EQ(loaded.origins.at("model.num_hidden_layers").text(), "base/root.yaml:1:28");
  EXPECT_EQ(loaded.origins.at("optim.clip").text(), "argument 'optim.clip=5'");
}

TEST(LoadConfig, ExtendsThatCannotWork) {
  const ConfigFiles files;
  const auto load = [&](const std::string& text) {
    files.write("a.yaml", text);
    return error_of([&] { load_config("a.yaml", {}, {}); });
  };
  EXPECT_EQ(load("extends: a.yaml\n"),
            "a.yaml:1:10: extends: 'a.yaml' extends itself through this file; break the circle");
  files.write("b.yaml", "model: {num_hidden_layers: 2}\nextends: ./a.yaml\noptim: {lr: x}\n");
  EXPECT_EQ(load("extends: b.yaml\n"),
            "b.yaml:2:10: extends: './a.yaml' extends itself through this file; break the circle");
  EXPECT_EQ(load("extends: none.yaml\n"),
            "a.yaml:1:10: extends: 'none.yaml' cannot be read: No such file or directory; the "
            "path is relative to this file's folder");
  EXPECT_EQ(load("extends: [b.yaml]\nmodel: {num_hidden_layers: 2}\n"),
            "a.yaml:1:10: extends: has a list; name one YAML file");
  EXPECT_THAT(load("extends: c.yaml\n"), HasSubstr("c.yaml"));
  for (int i = 0; i < 10; ++i) {
    files.write("deep" + std::to_string(i) + ".yaml",
                "extends: deep" + std::to_string(i + 1) + ".yaml\n");
  }
  files.write("deep10.yaml", kSmall);
  EXPECT_THAT(error_of([&] { load_config("deep0.yaml", {}, {}); }),
              HasSubstr("deep8.yaml:1:10: extends: more than 8 files extend each other"));
  EXPECT_EQ(error_of([&] { load_config("deep2.yaml", {}, {}); }), "");
}

TEST(LoadConfig, AnAliasAndItsKeyAreOne) {
  EXPECT_EQ(problems_of("model:\n  num_hidden_layers: 2\n  rope_theta: 5\n"
                        "  rope_parameters: {main: {rope_theta: 4}}\n"),
            "a.yaml:3:3: model.rope_theta: means the same as "
            "model.rope_parameters.main.rope_theta, which is given too; keep one of them");
  EXPECT_THAT(problems_of("model:\n  num_hidden_layers: 2\n  rope_theta: -5\n"),
              HasSubstr("a.yaml:3:15: model.rope_parameters.main.rope_theta: -5 is out of range"));
}

// The keys of DeepSeek's own config.json.
TEST(LoadConfig, LayersMayBeSaidAsPublished) {
  const ModelConfig m =
      parse_config("model: {compress_ratios: [0, 0, 0], num_hash_layers: 2}\n", "a", {}, {}).model;
  EXPECT_EQ(m.layer_types, std::vector(3, AttentionKind::kSliding));
  EXPECT_THAT(m.mlp_layer_types, ElementsAre(FeedForwardKind::kHashMoe, FeedForwardKind::kHashMoe,
                                             FeedForwardKind::kMoe));
  // The published list has one more entry, of the prediction block.
  EXPECT_EQ(parse_config("model: {num_hidden_layers: 2, compress_ratios: [0, 0, 0]}\n", "a", {}, {})
                .model.layer_types.size(),
            2U);
  EXPECT_THAT(parse_config("model: {num_hidden_layers: 2, num_hash_layers: 1}\n", "a", {}, {})
                  .model.mlp_layer_types,
              ElementsAre(FeedForwardKind::kHashMoe, FeedForwardKind::kMoe));
  // Ratios are rates: 4 is CSA's, unless compress_rates says otherwise, any other HCA's.
  const ModelConfig hybrid =
      parse_config("model: {compress_ratios: [0, 4, 16]}\n", "a", {}, {}).model;
  EXPECT_THAT(hybrid.layer_types,
              ElementsAre(AttentionKind::kSliding, AttentionKind::kCompressedSparse,
                          AttentionKind::kHeavilyCompressed));
  EXPECT_EQ(hybrid.compress_rate_hca, 16);
  const ModelConfig other = parse_config(
                                "model: {compress_rates: {compressed_sparse_attention: 8}, "
                                "compress_ratios: [8, 4]}\n",
                                "a", {}, {})
                                .model;
  EXPECT_EQ(other.layer_types[0], AttentionKind::kCompressedSparse);
  EXPECT_EQ(other.compress_rate_csa, 8);
  EXPECT_EQ(other.compress_rate_hca, 4);
  // As an argument it replaces what the file says.
  EXPECT_EQ(parse_config("model: {layer_types: [sliding_attention]}\n", "a",
                         {"model.compress_ratios=[0, 0]"}, {})
                .model.layer_types.size(),
            2U);
}

TEST(LoadConfig, PublishedKeysSayRatesAndYarnToo) {
  const char* older =
      "model: {compress_ratios: [0, 4, 128, 0], num_hidden_layers: 3, num_hash_layers: 1,\n"
      "        rope_scaling: {type: yarn, factor: 4, original_max_position_embeddings: 99}}\n";
  const char* newer =
      "model:\n"
      "  layer_types: [sliding_attention, compressed_sparse_attention, "
      "heavily_compressed_attention]\n"
      "  compress_rates: {compressed_sparse_attention: 4, heavily_compressed_attention: 128}\n"
      "  mlp_layer_types: [hash_moe, moe, moe]\n"
      "  rope_parameters:\n"
      "    compress: {rope_type: yarn, factor: 4, original_max_position_embeddings: 99}\n";
  EXPECT_EQ(parse_config(older, "a", {}, {}), parse_config(newer, "b", {}, {}));
  // They replace other rates of a file that is extended.
  const ConfigFiles files;
  files.write("base.yaml",
              "model: {layer_types: [compressed_sparse_attention],\n"
              "        compress_rates: {compressed_sparse_attention: 8}}\n");
  files.write("a.yaml", "extends: base.yaml\nmodel: {compress_ratios: [0, 4]}\n");
  EXPECT_EQ(load_config("a.yaml", {}, {}).model.compress_rate_csa, 4);
}

TEST(LoadConfig, PublishedKeysHaveTheirPlaces) {
  const std::string layers = "model:\n  num_hidden_layers: 2\n";
  EXPECT_EQ(problems_of(layers + "  compress_ratios: [0, 1]\n"),
            "a.yaml:3:24: model.compress_ratios: '1' (layer 1) is not known; use 0 for a window "
            "layer, 4 for CSA, 128 for HCA");
  EXPECT_THAT(
      problems_of(layers + "  compress_ratios: [16, 32]\n"),
      HasSubstr("'32' (layer 1) is not known; use 0 for a window layer, 4 for CSA, 16 for"));
  EXPECT_THAT(problems_of(layers + "  compress_ratios: [0]\n"),
              HasSubstr("a.yaml:3:20: model.compress_ratios: no list with a number for each of 2"));
  EXPECT_THAT(problems_of("model:\n  layer_types: [sliding_attention]\n  compress_ratios: [0]\n"),
              HasSubstr("a.yaml:3:20: model.compress_ratios: means the same as model.layer_types, "
                        "which is given too; keep one of them"));
  EXPECT_THAT(problems_of(layers + "  mlp_layer_types: [moe, moe]\n  num_hash_layers: 1\n"),
              HasSubstr("a.yaml:4:20: model.num_hash_layers: means the same as "
                        "model.mlp_layer_types"));
  EXPECT_THAT(problems_of("model: {num_hash_layers: 1}\n"),
              HasSubstr("model.num_hash_layers: says nothing without the number of layers"));
  EXPECT_THAT(problems_of(layers + "  num_hash_layers: one\n"),
              HasSubstr("a.yaml:3:20: model.num_hash_layers: 'one' is not a whole number"));
  EXPECT_THAT(problems_of(layers + "  rope_scaling: 4\n"),
              HasSubstr("a.yaml:3:17: model.rope_scaling: has '4'; give a map"));
  EXPECT_THAT(problems_of(layers + "  rope_scaling: {factor: 0.5}\n"
                                   "  rope_parameters: {compress: {factor: 4}}\n"),
              HasSubstr("means the same as model.rope_parameters.compress"));
  EXPECT_THAT(problems_of(layers + "  rope_scaling: {type: yarn, factr: 4}\n"),
              HasSubstr("model.rope_parameters.compress"));
}

TEST(LoadConfig, ManyProblemsAreCounted) {
  std::string text = kSmall;
  for (int i = 0; i < 500; ++i) text += "unknown" + std::to_string(i) + ": 1\n";
  const std::string said = problems_of(text);
  EXPECT_THAT(said, HasSubstr("a.yaml:2:1: unknown0: unknown key"));
  EXPECT_THAT(said, HasSubstr("\nand 450 more problems"));
}

TEST(ParseConfig, StandsAlone) {
  const RunConfig c = parse_config(kSmall, "checkpoint", {"optim.lr=2"}, {});
  EXPECT_EQ(c.optim.lr, 2.0);
  EXPECT_EQ(error_of([] {
              parse_config("extends: a.yaml\nmodel: {num_hidden_layers: 2}\n", "checkpoint", {},
                           {});
            }),
            "checkpoint:1:10: extends: a stored configuration stands alone; remove it");
  EXPECT_THAT(error_of([] { parse_config("a: [", "checkpoint", {}, {}); }),
              HasSubstr("checkpoint:1:"));
}

}  // namespace
}  // namespace shoal

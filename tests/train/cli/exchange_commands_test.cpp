// `shoal export` and `shoal import`, as programs.
#include <gmock/gmock.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "train/interop/json_file.h"
#include "train/interop/safetensors.h"
#include "train/interop/weight_index.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// Every file of a folder and its bytes.
std::map<std::string, std::string> content_of(const std::string& folder) {
  std::map<std::string, std::string> content;
  for (const auto& entry : fs::directory_iterator(folder)) {
    content[entry.path().filename()] = bytes_of_file(entry.path());
  }
  return content;
}

// A trained run and its export in the folder "hub".
class Exchange : public ::testing::Test {
 protected:
  Exchange() {
    micro_.train_to_the_end("run", {"train.steps=3", "train.eval_every=0"});
    run_well({"export", micro_ / "run", micro_ / "hub"});
  }
  void rewrite_config(const std::function<void(nlohmann::json&)>& change) const {
    auto json = read_json_object(micro_ / "hub/config.json");
    change(json);
    micro_.folder().write("hub/config.json", json.dump());
  }
  // `import hub new` has to fail with this code, in one line, and to leave nothing.
  void expect_refused(int code, const std::string& says) const {
    const auto before = everything_in(micro_.folder().path());
    const Ended ended = run_program({"import", micro_ / "hub", micro_ / "new"});
    EXPECT_EQ(ended.code, code) << ended.err;
    EXPECT_THAT(ended.last_line(), HasSubstr(says));
    EXPECT_EQ(everything_in(micro_.folder().path()), before);
  }

  MicroRun micro_;
};

TEST_F(Exchange, ThereAndBackGivesTheSameBytes) {
  run_well({"import", micro_ / "hub", micro_ / "back"});
  run_well({"export", micro_ / "back", micro_ / "hub2"});
  EXPECT_TRUE(content_of(micro_ / "hub") == content_of(micro_ / "hub2"));
  EXPECT_EQ(content_of(micro_ / "hub").size(), 5U);
  // The same model: every weight, and so every number of it.
  auto before = state_of(micro_ / "run"), after = state_of(micro_ / "back");
  std::erase_if(before, [](const auto& item) { return !item.first.starts_with("/model/"); });
  std::erase_if(after, [](const auto& item) { return !item.first.starts_with("/model/"); });
  EXPECT_TRUE(after == before);
  const std::vector<std::string> ask = {"--prompt", "the king ", "--tokens", "20"};
  std::vector<std::string> of_run = {"generate", micro_ / "run"},
                           of_back = {"generate", micro_ / "back"};
  of_run.insert(of_run.end(), ask.begin(), ask.end());
  of_back.insert(of_back.end(), ask.begin(), ask.end());
  EXPECT_EQ(run_program(of_back).out, run_program(of_run).out);
  run_well({"verify", micro_ / "back"});
  run_well({"inspect", micro_ / "back"});
  run_well({"verify", micro_ / "hub"});
}

TEST_F(Exchange, ACheckpointIsExportedByItsFolder) {
  run_well({"export", micro_ / "run/checkpoints/step-00000003", micro_ / "hub2"});
  EXPECT_TRUE(content_of(micro_ / "hub") == content_of(micro_ / "hub2"));
}

TEST_F(Exchange, ShardsAreReadLikeOneFile) {
  run_well({"export", micro_ / "run", micro_ / "shards", "--shard-size", "60kB"});
  EXPECT_TRUE(fs::exists(micro_ / "shards/model.safetensors.index.json"));
  EXPECT_FALSE(fs::exists(micro_ / "shards/model.safetensors"));
  run_well({"import", micro_ / "shards", micro_ / "back"});
  run_well({"export", micro_ / "back", micro_ / "hub2"});
  EXPECT_TRUE(content_of(micro_ / "hub") == content_of(micro_ / "hub2"));
  run_well({"verify", micro_ / "shards"});
  const Ended inspected = run_program({"inspect", micro_ / "shards"});
  EXPECT_THAT(inspected.out, HasSubstr("layers.1.attn.wq_a.weight"));
  EXPECT_THAT(inspected.out, HasSubstr("embed.weight"));
  // A start from them is the start from the run.
  micro_.train_to_the_end("a", {"train.steps=2", "train.init_from=" + (micro_ / "shards")});
  micro_.train_to_the_end("b", {"train.steps=2", "train.init_from=" + (micro_ / "run")});
  EXPECT_EQ(numbers_of(micro_ / "a"), numbers_of(micro_ / "b"));
  std::string second;
  for (const auto& [name, bytes] : content_of(micro_ / "shards")) {
    if (name.starts_with("model-00002-of-")) second = name;
  }
  ASSERT_TRUE(fs::remove(micro_ / ("shards/" + second)));
  EXPECT_EQ(run_program({"verify", micro_ / "shards"}).code, 1);
  const Ended started = micro_.train("c", {"train.init_from=" + (micro_ / "shards")});
  EXPECT_EQ(started.code, 3);
  EXPECT_THAT(started.last_line(), HasSubstr(second + ": is missing"));
  EXPECT_FALSE(fs::exists(micro_ / "c"));
}

TEST_F(Exchange, AnImportedRunIsEvaluatedAndTrainedOnceItHasData) {
  run_well({"import", micro_ / "hub", micro_ / "back"});
  const std::string text = "[" + (micro_ / "corpus.txt") + "]";
  const auto eval = [&](const char* run) {
    const Ended ended =
        run_program({"eval", micro_ / run, "data.validation=" + text, "--json",
                     "data.sequence_length=32", "train.batch_tokens=192", "train.micro_batch=2"});
    EXPECT_EQ(ended.code, 0) << ended.err;
    Json json = Json::parse(ended.out);
    json.erase("step");
    return json;
  };
  EXPECT_EQ(eval("back"), eval("run"));
  const Ended without = run_program({"eval", micro_ / "back"});
  EXPECT_EQ(without.code, 2);
  EXPECT_THAT(without.last_line(), HasSubstr("data.validation=[FILE]"));
  EXPECT_EQ(run_program({"resume", micro_ / "back"}).code, 2);

  // What is new may be chosen, once; it equals a run that starts from the weights.
  const std::vector<std::string> settings = {"data.train=" + text,      "data.validation=0.2",
                                             "data.sequence_length=32", "train.batch_tokens=192",
                                             "train.micro_batch=2",     "train.steps=4",
                                             "optim.matrices=adamw",    "run.seed=3"};
  std::vector<std::string> resume = {"resume", micro_ / "back"};
  resume.insert(resume.end(), settings.begin(), settings.end());
  run_well(resume);
  std::vector<std::string> overrides = settings;
  overrides.push_back("train.init_from=" + (micro_ / "run"));
  for (const char* key :
       {"optim.lr=1e-3", "optim.end_lr=1e-4", "optim.warmup_steps=50", "optim.decay_share=0.3"}) {
    overrides.emplace_back(key);
  }
  const Ended started = micro_.train("started", overrides);
  EXPECT_EQ(started.code, 0) << started.err;
  EXPECT_EQ(lines_of(micro_ / "back", "step").size(), 4U);
  const auto losses = [&](const char* run) {
    std::vector<double> all;
    for (const std::string& line : lines_of(micro_ / run, "step")) {
      all.push_back(parse_line(line)->at("loss").get<double>());
    }
    return all;
  };
  EXPECT_EQ(losses("back"), losses("started"));
  // From now on it is a run like any other.
  const Ended changed = run_program({"resume", micro_ / "back", "optim.lr=1e-2"});
  EXPECT_EQ(changed.code, 2);
  EXPECT_THAT(changed.last_line(), HasSubstr("would change the numbers"));
}

TEST_F(Exchange, AnImportedRunMayBeForked) {
  run_well({"import", micro_ / "hub", micro_ / "back"});
  run_well({"resume", micro_ / "back", "--fork", micro_ / "fork", "train.steps=2",
            "data.train=[" + (micro_ / "corpus.txt") + "]", "data.sequence_length=32",
            "train.batch_tokens=64", "train.micro_batch=2"});
  EXPECT_EQ(lines_of(micro_ / "fork", "step").size(), 2U);
}

TEST_F(Exchange, WhatIsThereIsKept) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"export", micro_ / "run", micro_ / "hub"},
                                             {"import", micro_ / "hub", micro_ / "run"},
                                             {"export", micro_ / "run", micro_ / "corpus.txt"}}) {
    const auto before = everything_in(micro_.folder().path());
    const Ended ended = run_program(arguments);
    EXPECT_EQ(ended.code, 2) << ended.err;
    EXPECT_THAT(ended.last_line(), HasSubstr("is there already"));
    EXPECT_EQ(everything_in(micro_.folder().path()), before);
  }
  const Ended nothing = run_program({"export", micro_ / "corpus.txt", micro_ / "new"});
  EXPECT_EQ(nothing.code, 3);
  EXPECT_FALSE(fs::exists(micro_ / "new"));
}

// What transformers writes lacks the prediction block and says in its config that there is one.
TEST_F(Exchange, WithoutAPredictionBlockTheRunHasNone) {
  const SafetensorsFile file = SafetensorsFile::open(micro_ / "hub/model.safetensors");
  std::vector<TensorToWrite> tensors;
  std::vector<std::vector<std::byte>> bytes;
  bytes.reserve(file.tensors().size());
  for (const auto& [name, info] : file.tensors()) {
    bytes.push_back(file.read_bytes(name));
    if (name.starts_with("mtp.")) continue;
    const bool kv_norm = name.ends_with("attn.kv_norm.weight");
    tensors.push_back({kv_norm ? "model." + name.substr(0, name.size() - 14) + "norm.weight"
                       : name == "head.weight" ? name
                                               : "model." + name,
                       info.dtype, info.shape, bytes.back().data()});
  }
  write_safetensors(micro_ / "hub/model.safetensors", tensors);
  const Ended ended = run_program({"import", micro_ / "hub", micro_ / "back"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("no prediction block"));
  auto before = state_of(micro_ / "run");
  std::erase_if(before, [](const auto& item) {
    return !item.first.starts_with("/model/") || item.first.starts_with("/model/mtp/");
  });
  auto after = state_of(micro_ / "back");
  std::erase_if(after, [](const auto& item) { return !item.first.starts_with("/model/"); });
  EXPECT_TRUE(after == before);
  const Ended started = micro_.train("c", {"train.init_from=" + (micro_ / "hub")});
  EXPECT_EQ(started.code, 3);
  EXPECT_THAT(started.last_line(), HasSubstr("model.num_nextn_predict_layers"));
  micro_.train_to_the_end("d", {"train.init_from=" + (micro_ / "hub"), "train.steps=1",
                                "model.num_nextn_predict_layers=0"});
}

TEST_F(Exchange, BadConfigurationsAreRefused) {
  const auto whole = read_json_object(micro_ / "hub/config.json");
  const auto with = [&](const char* key, const nlohmann::json& value) {
    auto json = whole;
    json[key] = value;
    micro_.folder().write("hub/config.json", json.dump());
  };
  with("hidden_size", "wide");
  expect_refused(3, "hub/config.json: hidden_size: ");
  with("hidden_size", 36);
  expect_refused(3, "hub/model.safetensors: tensor");
  with("num_attention_heads", 3);
  expect_refused(2, "hub/config.json: o_groups: ");
  with("vocab_size", 200);
  expect_refused(2, "hub/config.json: vocab_size: 200 is too small for bytes");
  with("eos_token_id", 5);
  expect_refused(2, "expected 0 and 1");
  with("model_type", "llama");
  expect_refused(3, "model_type: \"llama\" is not supported");
  with("n_routed_experts", 500000);
  expect_refused(2, "n_routed_experts: 500000 in each of 2 layers; use at most 131072");
  with("n_routed_experts", 80000);
  expect_refused(3,
                 "n_routed_experts: 80000 need at least 160000 tensors, but the weights are 113");
  with("num_hidden_layers", 2);
  micro_.folder().write("hub/tokenizer.json", R"({"model": {"vocab": {"a": 0}, "merges": []}})");
  expect_refused(2, "hub/tokenizer.json: is not the byte tokenizer");
  fs::remove(micro_ / "hub/tokenizer.json");
  fs::remove(micro_ / "hub/config.json");
  expect_refused(3, "hub/config.json: cannot be read");
  fs::remove_all(micro_ / "hub");
  expect_refused(3, "hub: is no folder");
}

// A folder is whole if a model can be made of it.
TEST_F(Exchange, VerifyComparesConfigurationAndWeights) {
  const auto whole = read_json_object(micro_ / "hub/config.json");
  const auto problem_of = [&](const std::string& config) {
    micro_.folder().write("hub/config.json", config);
    const Ended ended = run_program({"verify", micro_ / "hub"});
    EXPECT_EQ(ended.code, 1) << ended.out << ended.err;
    return ended.out;
  };
  auto wide = whole;
  wide["hidden_size"] = 36;
  EXPECT_THAT(problem_of(wide.dump()), HasSubstr("expected [258, 36]"));
  EXPECT_THAT(problem_of("{"), HasSubstr("hub/config.json: is not valid JSON"));
  // Another program's model is not damaged.
  auto foreign = whole;
  foreign["model_type"] = "llama";
  micro_.folder().write("hub/config.json", foreign.dump());
  const Ended ended = run_program({"verify", micro_ / "hub"});
  EXPECT_EQ(ended.code, 3) << ended.out;
  EXPECT_THAT(ended.last_line(), HasSubstr("hub/config.json: model_type \"llama\""));
  micro_.folder().write("hub/config.json", whole.dump());
  run_well({"verify", micro_ / "hub"});
}

TEST_F(Exchange, BadWeightsAreRefused) {
  const std::string path = micro_ / "hub/model.safetensors", whole = bytes_of_file(path);
  const auto write = [&](const std::string& bytes) {
    micro_.folder().write("hub/model.safetensors", bytes);
  };
  write(whole.substr(0, whole.size() / 2));
  expect_refused(3, "hub/model.safetensors: tensor");
  write(whole.substr(0, 5));
  expect_refused(3, "hub/model.safetensors: 5 bytes are too few");
  write(std::string(8, '\x7f') + whole.substr(8));
  expect_refused(3, "hub/model.safetensors: its header should have");
  std::string renamed = whole;
  renamed.replace(renamed.find("hc_head_base"), 12, "hc_head_bass");
  write(renamed);
  expect_refused(3, "\"hc_head_base\": missing; expected [2]");
  std::string sick = whole;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(&sick[sick.size() - 4], &nan, 4);
  write(sick);
  expect_refused(3, "has a NaN or an infinity; expected finite weights");
  fs::remove(path);
  expect_refused(3, "hub: holds no weights; expected model.safetensors");
  micro_.folder().write("hub/model.safetensors.index.json",
                        R"({"weight_map": {"embed.weight": "../run/x.safetensors"}})");
  expect_refused(3, "tensor \"embed.weight\" is in \"../run/x.safetensors\"; expected the plain");
  micro_.folder().write("hub/model.safetensors.index.json",
                        R"({"weight_map": {"embed.weight": "x.safetensors"}})");
  expect_refused(3, "says tensor \"embed.weight\" is in it");
}

TEST_F(Exchange, AFullDiskLeavesNothing) {
  SKIP_WITHOUT_FILE_LIMIT();
  const auto before = everything_in(micro_.folder().path());
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"export", micro_ / "run", micro_ / "new"},
                                             {"import", micro_ / "hub", micro_ / "new"}}) {
    const Ended ended = run_program(arguments, {.file_bytes = 100000});
    EXPECT_EQ(ended.code, 5) << ended.err;
    EXPECT_EQ(everything_in(micro_.folder().path()), before);
  }
}

// At whatever instant: the folder is there and whole, or it is not there.
TEST_F(Exchange, AKillLeavesNoHalfFolder) {
  int finished = 0, cut = 0;
  for (int i = 0; i < 24; ++i) {
    const std::string name = "killed" + std::to_string(i), to = micro_ / name;
    const bool out = i % 2 == 0;
    Program program({out ? "export" : "import", micro_ / (out ? "run" : "hub"), to});
    // The hidden folder is being filled for a moment only.
    const auto hidden = [&] {
      for (const auto& entry : fs::directory_iterator(micro_.folder().path())) {
        if (entry.path().filename().string().starts_with(".tmp-" + name)) return true;
      }
      return false;
    };
    (void)wait_until(program, hidden);
    for (int wait = 0; wait < i / 8; ++wait) sleep_briefly();
    program.signal(SIGKILL);
    program.wait();
    if (fs::exists(to)) {
      ++finished;
      run_well({"verify", to});
      EXPECT_EQ(fs::exists(fs::path(to) / "config.json"), out);
    } else {
      cut += hidden() ? 1 : 0;
    }
  }
  EXPECT_GT(cut, 0) << finished << " finished before they were killed";
}

}  // namespace
}  // namespace shoal

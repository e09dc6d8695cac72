#include "train/interop/export_model.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/temporary_folder.h"
#include "tests/support/tiny_model.h"
#include "train/config/published/model_json.h"
#include "train/interop/json_file.h"
#include "train/interop/model_weights.h"
#include "train/interop/new_folder.h"
#include "train/interop/tokenizer_files.h"
#include "train/interop/weight_index.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::random_model;
using testing::tiny_config;

std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

TEST(ExportModel, WritesWhatOthersLoad) {
  const TemporaryFolder dir;
  const auto model = random_model(tiny_config());
  const Exported done = export_model(*model, dir / "a/b", true);
  EXPECT_THAT(names_in(dir / "a"), ElementsAre("b"));
  EXPECT_THAT(names_in(dir / "a/b"),
              ElementsAre("config.json", "generation_config.json", "model.safetensors",
                          "tokenizer.json", "tokenizer_config.json"));
  EXPECT_THAT(done.warnings, ::testing::IsEmpty());
  const auto config = read_json_object(dir / "a/b/config.json");
  EXPECT_EQ(config.at("model_type"), "deepseek_v4");
  EXPECT_EQ(config.at("architectures"), nlohmann::json({"DeepseekV4ForCausalLM"}));
  EXPECT_EQ(config.at("dtype"), "float32");
  EXPECT_EQ(model_from_json(config, "c", nullptr), model->config());
  const SafetensorsFile file = SafetensorsFile::open(dir / "a/b/model.safetensors");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(static_cast<std::int64_t>(file.tensors().size()), done.tensors);
  EXPECT_EQ(file.info("layers.0.ffn.gate.tid2eid").dtype, "I64");
  EXPECT_THAT(file.info("layers.0.ffn.gate.tid2eid").shape, ElementsAre(23, 2));
  EXPECT_THAT(file.info("layers.1.ffn.experts.4.w1.weight").shape, ElementsAre(9, 19));
  EXPECT_THAT(file.info("mtp.0.e_proj.weight").shape, ElementsAre(19, 19));
  const auto generation = read_json_object(dir / "a/b/generation_config.json");
  EXPECT_EQ(generation,
            (nlohmann::json{{"bos_token_id", 0}, {"eos_token_id", 1}, {"pad_token_id", 1}}));
  EXPECT_EQ(read_json_object(dir / "a/b/tokenizer_config.json").at("pad_token"), "<eos>");
}

TEST(ExportModel, ShardsStayBelowTheirSizeAndHoldTheSame) {
  const TemporaryFolder dir;
  const auto model = random_model(tiny_config());
  export_model(*model, dir / "whole", false);
  const Exported done = export_model(*model, dir / "shards", false, 5000);
  ASSERT_GE(done.weight_files.size(), 4U);
  EXPECT_EQ(done.weight_files[1],
            shard_name(2, static_cast<std::int64_t>(done.weight_files.size())));
  const SafetensorsFile whole = SafetensorsFile::open(dir / "whole/model.safetensors");
  const WeightIndex index = read_weight_index(dir / "shards/model.safetensors.index.json");
  EXPECT_EQ(index.file_of.size(), whole.tensors().size());
  EXPECT_EQ(static_cast<std::uint64_t>(index.total_bytes), done.bytes);
  std::uint64_t total = 0;
  for (const std::string& name : done.weight_files) {
    const SafetensorsFile shard = SafetensorsFile::open(dir / ("shards/" + name));
    std::uint64_t bytes = 0;
    for (const auto& [tensor, info] : shard.tensors()) {
      EXPECT_EQ(index.file_of.at(tensor), name);
      EXPECT_EQ(shard.read_bytes(tensor), whole.read_bytes(tensor)) << tensor;
      bytes += info.end - info.begin;
    }
    EXPECT_TRUE(bytes <= 5000 || shard.tensors().size() == 1) << name;
    total += bytes;
  }
  EXPECT_EQ(total, done.bytes);
}

// A model that transformers would compute wrongly must not call itself one of its own.
TEST(ExportModel, WhatOnlyShoalComputesSaysSo) {
  const auto with = [](const auto& change) {
    ModelConfig config = tiny_config();
    change(config);
    const TemporaryFolder dir;
    const auto model = random_model(config);
    const Exported done = export_model(*model, dir / "x", false);
    const auto json = read_json_object(dir / "x/config.json");
    EXPECT_EQ(model_from_json(json, "x", nullptr), model->config());
    EXPECT_EQ(done.warnings.empty(), json.at("model_type") == "deepseek_v4");
    EXPECT_EQ(json.at("architectures") == nlohmann::json({"DeepseekV4ForCausalLM"}),
              json.at("model_type") == "deepseek_v4");
    return json.at("model_type").get<std::string>();
  };
  EXPECT_EQ(with([](ModelConfig& c) { c.swiglu_limit = 0; }), "deepseek_v4");
  EXPECT_EQ(with([](ModelConfig& c) { c.scoring_func = RouterScore::kSigmoid; }), "deepseek_v4");
  EXPECT_EQ(with([](ModelConfig& c) { c.residual = ResidualKind::kPlain; }), "shoal");
  EXPECT_EQ(with([](ModelConfig& c) { c.residual = ResidualKind::kHyper; }), "shoal");
  EXPECT_EQ(with([](ModelConfig& c) { c.mlp_layer_types[1] = FeedForwardKind::kDense; }), "shoal");
  EXPECT_EQ(with([](ModelConfig& c) { c.n_shared_experts = 0; }), "shoal");
  EXPECT_EQ(with([](ModelConfig& c) { c.norm_topk_prob = false; }), "shoal");
  EXPECT_EQ(with([](ModelConfig& c) { c.scoring_func = RouterScore::kSoftmax; }), "shoal");
}

TEST(ExportModel, AFullFolderAndAFileAreRefused) {
  const TemporaryFolder dir;
  const auto model = random_model(tiny_config());
  const auto refused = [&](const std::string& path) {
    try {
      export_model(*model, path, false);
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kUsage);
      return std::string(error.what());
    }
    return std::string();
  };
  fs::create_directories(dir / "full");
  write_file(dir / "full/mine", "x");
  write_file(dir / "file", "x");
  EXPECT_THAT(refused(dir / "full"), HasSubstr("is there already and not empty"));
  EXPECT_THAT(refused(dir / "file"), HasSubstr("is there already"));
  EXPECT_NE(refused(""), "");
  EXPECT_EQ(contents(dir / "full/mine"), "x");
  fs::create_directories(dir / "empty");
  EXPECT_EQ(refused((dir / "empty") + "/"), "");
  EXPECT_THAT(names_in(dir.path()), ElementsAre("empty", "file", "full"));
}

TEST(NewFolder, WithoutACommitNothingStays) {
  const TemporaryFolder dir;
  {
    NewFolder folder(dir / "x");
    write_file(folder.begin() + "/part", "half");
    EXPECT_EQ(names_in(dir.path()).size(), 1U);
    EXPECT_THAT(*names_in(dir.path()).begin(), ::testing::StartsWith(".tmp-x-"));
  }
  EXPECT_THAT(names_in(dir.path()), ::testing::IsEmpty());
}

TEST(NewFolder, RemovesWhatKilledProcessesLeft) {
  const TemporaryFolder dir;
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);
  const std::string gone = concat(".tmp-x-", dead), alive = concat(".tmp-x-", ::getppid());
  const std::string other = concat(".tmp-x-y-", dead), file = concat(".tmp-x-", dead, "0000");
  for (const std::string& name : {gone, alive, other}) {
    fs::create_directories(dir / name);
    write_file(dir / (name + "/part"), "half");
  }
  write_file(dir / file, "mine");
  NewFolder folder(dir / "x");
  folder.begin();
  folder.commit();
  EXPECT_THAT(names_in(dir.path()), ::testing::UnorderedElementsAre(alive, other, file, "x"));
}

TEST(TokenizerFiles, BytesHaveOurIds) {
  const auto json = nlohmann::json::parse(byte_tokenizer_json());
  EXPECT_TRUE(is_byte_tokenizer(json));
  const auto& vocab = json.at("model").at("vocab");
  EXPECT_EQ(vocab.size(), 258U);
  EXPECT_EQ(vocab.at("<bos>"), 0);
  EXPECT_EQ(vocab.at("<eos>"), 1);
  EXPECT_EQ(vocab.at("A"), 2 + 'A');
  EXPECT_EQ(vocab.at("\u0120"), 2 + ' ');   // the letter of a space, known from byte-level BPE
  EXPECT_EQ(vocab.at("\u010a"), 2 + '\n');  // of a line feed
  EXPECT_EQ(vocab.at("\u00e9"), 2 + 0xe9);
  EXPECT_EQ(vocab.at("\u0143"), 2 + 0xad);  // the last one that is moved
  std::set<int> ids;
  for (const auto& [letter, id] : vocab.items()) ids.insert(id.get<int>());
  EXPECT_EQ(ids.size(), 258U);
  EXPECT_EQ(*ids.rbegin(), 257);
}

TEST(TokenizerFiles, OthersAreNotTaken) {
  auto other = nlohmann::json::parse(byte_tokenizer_json());
  other["model"]["vocab"]["A"] = 2 + 'B';
  EXPECT_FALSE(is_byte_tokenizer(other));
  other = nlohmann::json::parse(byte_tokenizer_json());
  other["model"]["merges"].push_back("A B");
  EXPECT_FALSE(is_byte_tokenizer(other));
  EXPECT_FALSE(is_byte_tokenizer(nlohmann::json::object()));
  EXPECT_FALSE(is_byte_tokenizer({{"model", 3}}));
  EXPECT_FALSE(is_byte_tokenizer({{"model", {{"vocab", nullptr}}}}));
}

}  // namespace
}  // namespace shoal

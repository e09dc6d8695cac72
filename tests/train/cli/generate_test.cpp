// `shoal generate` and `shoal bench decode`, and the stage of the indexers wherever a run is read.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

using testing::HasSubstr;

// As JSON holds it: what is no UTF-8 replaced.
std::string in_json(const std::string& text) {
  return Json::parse(line_of(Json(text))).get<std::string>();
}

const std::vector<std::string> kCompressed = {
    "model.layer_types=[compressed_sparse_attention, heavily_compressed_attention]",
    "model.compress_rates={compressed_sparse_attention: 2, heavily_compressed_attention: 4}",
    "model.index_topk=1"};

TEST(Generate, OptionsPromptsAndJson) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  const auto generate = [&](std::vector<std::string> more, const ProgramOptions& options = {}) {
    more.insert(more.begin(), {"generate", micro / "run", "--tokens", "20"});
    return run_program(more, options);
  };
  const Ended one = generate({"--prompt", "the king"}), two = generate({"--prompt", "behold"});
  EXPECT_EQ(one.code, 0) << one.err;
  // Speeds and bytes, and against what they are counted.
  for (const char* word : {"tokens/s", "cache: ", "one raw key-value row for every token and layer",
                           "keys and values for each of 2 heads"}) {
    EXPECT_THAT(one.err, HasSubstr(word));
  }
  // Several prompts in their order: the first as alone, the others with draws of their own.
  const Ended both = generate({"--prompt", "the king", "--prompt", "behold"});
  const std::string before = "==> 1 <==\n" + one.out + "==> 2 <==\n";
  ASSERT_TRUE(both.out.starts_with(before + "behold"));
  const std::string second = both.out.substr(before.size());
  EXPECT_NE(second, two.out);
  // Equal prompts, different texts; --samples is the same.
  const Ended twice = generate({"--prompt", "the king", "--prompt", "the king"});
  ASSERT_TRUE(twice.out.starts_with(before + "the king"));
  EXPECT_NE(twice.out.substr(before.size()), one.out);
  EXPECT_EQ(generate({"--prompt", "the king", "--samples", "2"}).out, twice.out);
  EXPECT_EQ(generate({"--prompt", "the king", "--samples", "0"}).code, 2);
  const Json json = json_of_command({"generate", micro / "run", "--tokens", "20", "--prompt",
                                     "the king", "--prompt", "behold", "--json"});
  ASSERT_EQ(json.at("samples").size(), 2U);
  EXPECT_EQ("the king" + json.at("samples")[0].at("text").get<std::string>() + "\n",
            in_json(one.out));
  EXPECT_EQ("behold" + json.at("samples")[1].at("text").get<std::string>() + "\n", in_json(second));
  EXPECT_EQ(json.at("samples")[1].at("prompt"), "behold");
  EXPECT_EQ(json.at("samples")[1].at("prompt_tokens"), 7);
  EXPECT_EQ(json.at("prefill_tokens"), 16);
  for (const char* key : {"prefill_tokens_per_second", "decode_tokens", "decode_tokens_per_second",
                          "cache_bytes", "raw_cache_bytes", "multi_head_cache_bytes"}) {
    EXPECT_GT(json.at(key).get<double>(), 0.0) << key;
  }
  EXPECT_FALSE(json.contains("text"));
  // From stdin, without the line feed at the end.
  ProgramOptions with_input;
  with_input.in = micro.folder().write("prompt.txt", "the king\n");
  EXPECT_EQ(generate({"--prompt", "-"}, with_input).out, one.out);
  EXPECT_EQ(generate({"--prompt", "-", "--prompt", "-"}, with_input).code, 2);
  // One candidate is the likeliest.
  EXPECT_EQ(generate({"--prompt", "a", "--top-k", "1"}).out,
            generate({"--prompt", "a", "--temperature", "0"}).out);
  // A stop that comes, and one that does not.
  const std::string text = one.out.substr(8, one.out.size() - 9);
  ASSERT_GE(text.size(), 4U);
  const std::string stop = text.substr(2, 2);
  EXPECT_EQ(generate({"--prompt", "the king", "--stop", "no such text", "--stop", stop}).out,
            "the king" + text.substr(0, text.find(stop)) + "\n");
  EXPECT_EQ(generate({"--prompt", "the king", "--stop", "no such text"}).out, one.out);
  // Nothing is written before all prompts are known to fit.
  const Ended longer = generate({"--prompt", "a", "--prompt", std::string(64, 'a')});
  EXPECT_EQ(longer.code, 2);
  EXPECT_EQ(longer.out, "");
  EXPECT_THAT(longer.last_line(), HasSubstr("65 tokens, the model 64 positions"));
  EXPECT_EQ(generate({"--prompt", "a", "--top-k", "-1"}).code, 2);
  // The positions end.
  const Json full = json_of_command({"generate", micro / "run", "--prompt", std::string(60, 'a'),
                                     "--temperature", "5", "--seed", "3", "--json"});
  EXPECT_EQ(full.at("samples")[0].at("end"), "positions");
  EXPECT_EQ(full.at("samples")[0].at("tokens"), 4);
}

TEST(Generate, SamplesAndEvaluationsFollowTheIndexersStage) {
  const MicroRun micro;
  std::vector<std::string> settings = kCompressed;
  settings.insert(settings.end(),
                  {"indexer.stage=[{stage: dense}, {stage: sparse, from_step: 12}]",
                   "optim.lr=2e-2", "train.sample_tokens=40", "checkpoint.keep=10"});
  micro.train_to_the_end("run", settings);
  for (const char* step : {"00000005", "00000020", "00000024"}) {
    const std::string checkpoint = micro / ("run/checkpoints/step-" + std::string(step));
    const auto loss = [&](const std::string& stage) {
      std::vector<std::string> arguments = {"eval", checkpoint, "--json"};
      if (!stage.empty()) arguments.push_back("indexer.stage=" + stage);
      return json_of_command(arguments).at("loss");
    };
    const bool dense = std::stoi(step) < 12;
    EXPECT_NE(loss("dense"), loss("sparse")) << step;
    EXPECT_EQ(loss(""), loss(dense ? "dense" : "sparse")) << step;
  }
  // The run's own evaluation and sample at its end, and at step 7, while it was dense.
  const std::vector<std::string> evals = lines_of(micro / "run", "eval");
  EXPECT_EQ(parse_line(evals.back())->at("loss"),
            json_of_command({"eval", micro / "run", "--json"}).at("loss"));
  const auto expect_equal_samples = [&](const std::string& run) {
    std::vector<Json> samples;
    for (const std::string& line : lines_of(run, "event")) {
      if (parse_line(line)->at("event") == "sample") samples.push_back(*parse_line(line));
    }
    ASSERT_EQ(samples.size(), evals.size());
    EXPECT_EQ(samples.back().at("text"),
              json_of_command(
                  {"generate", run, "--prompt", "the ", "--tokens", "40", "--seed", "3", "--json"})
                  .at("text"));
  };
  expect_equal_samples(micro / "run");
  settings[3] = "indexer.stage=dense";
  micro.train_to_the_end("dense", settings);
  const std::vector<std::string> dense = lines_of(micro / "dense", "eval");
  EXPECT_EQ(parse_line(dense.front())->at("loss"), parse_line(evals.front())->at("loss"));
  expect_equal_samples(micro / "dense");
  settings[3] = "indexer.stage=[{stage: dense}, {stage: sparse, from_step: 7}]";
  micro.train_to_the_end("early", settings);
  const std::vector<std::string> early = lines_of(micro / "early", "eval");
  // The same seven steps; what is evaluated is what the next step would train.
  EXPECT_NE(parse_line(early.front())->at("loss"), parse_line(evals.front())->at("loss"));
}

TEST(Generate, BenchDecodeHasAllItsFields) {
  const MicroRun micro;
  std::vector<std::string> arguments = {"bench",    "decode", micro.config(), "--context", "3000",
                                        "--tokens", "5"};
  arguments.insert(arguments.end(), kCompressed.begin(), kCompressed.end());
  arguments.emplace_back("--json");
  const Json json = json_of_command(arguments);
  EXPECT_EQ(json.at("context"), 3000);
  EXPECT_EQ(json.at("dense_cache_bytes"), json.at("raw_cache_bytes"));
  EXPECT_LT(json.at("cache_share_of_dense"), 1.0);
  for (const char* key : {"decode_tokens_per_second", "dense_tokens_per_second", "times_dense"}) {
    EXPECT_GT(json.at(key).get<double>(), 0.0) << key;
  }
  arguments.emplace_back("--no-dense");
  EXPECT_FALSE(json_of_command(arguments).contains("times_dense"));
}

}  // namespace
}  // namespace shoal

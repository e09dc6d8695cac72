// What the commands print, and that they agree with one another.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "tests/support/sanitizers.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

TEST(Commands, EvalEqualsTheRunsOwnEvaluation) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  const auto evals = lines_of(micro / "run", "eval");
  ASSERT_EQ(evals.size(), 4U);
  const Json own = *parse_line(evals.back());
  const Json asked = json_of_command({"eval", micro / "run", "--json"});
  for (const char* key : {"kind", "step", "loss", "bits_per_byte", "tokens", "bytes"}) {
    EXPECT_EQ(asked.at(key), own.at(key)) << key;  // numbers read back to the same bits
  }
  EXPECT_EQ(asked.at("step"), 24);
  const Json older = json_of_command({"eval", micro / "run/checkpoints/step-00000020", "--json"});
  EXPECT_EQ(older.at("step"), 20);
  EXPECT_NE(older.at("loss"), own.at("loss"));
  // Of other data, and of part of it.
  const Json other = json_of_command(
      {"eval", micro / "run", "data.validation=[" + (micro / "corpus.txt") + "]", "--json"});
  EXPECT_GT(other.at("bytes").get<std::int64_t>(), own.at("bytes").get<std::int64_t>());
  const Json part = json_of_command({"eval", micro / "run", "train.eval_sequences=2", "--json"});
  EXPECT_LT(part.at("tokens").get<std::int64_t>(), own.at("tokens").get<std::int64_t>());
  const Ended text = run_program({"eval", micro / "run"});
  EXPECT_THAT(text.out, testing::StartsWith("step 24: loss "));
}

TEST(Commands, GenerateIsDecidedByItsSeed) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  const auto generate = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"generate", micro / "run", "--prompt", "the king "};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Ended ended = run_program(arguments);
    EXPECT_EQ(ended.code, 0) << ended.err;
    EXPECT_THAT(ended.out, testing::StartsWith("the king "));
    return ended.out;
  };
  EXPECT_EQ(generate({"--seed", "1"}), generate({"--seed", "1"}));
  EXPECT_NE(generate({"--seed", "1"}), generate({"--seed", "2"}));
  EXPECT_EQ(generate({"--temperature", "0", "--seed", "1"}),
            generate({"--temperature", "0", "--seed", "2"}));
  // The smallest set of tokens is the likeliest one.
  EXPECT_EQ(generate({"--temperature", "0"}), generate({"--top-p", "1e-6"}));
  EXPECT_EQ(generate({"--tokens", "0"}), "the king \n");
  const Json json =
      json_of_command({"generate", micro / "run", "--prompt", "the ", "--tokens", "5", "--json"});
  EXPECT_EQ(json.at("prompt"), "the ");
  EXPECT_TRUE(json.at("text").is_string());
  EXPECT_EQ(json.at("step"), 24);
  // Any bytes make a prompt; more than the model has positions do not.
  EXPECT_TRUE(json_of_command({"generate", micro / "run", "--prompt", "\xff\xfe", "--json"})
                  .at("text")
                  .is_string());
  const Ended longer = run_program({"generate", micro / "run", "--prompt", std::string(64, 'a')});
  EXPECT_EQ(longer.code, 2);
  EXPECT_THAT(longer.last_line(), HasSubstr("65 tokens"));
}

TEST(Commands, PreparedTokensTrainLikeTheirText) {
  const MicroRun micro;
  const Ended prepared = run_program({"prepare", micro / "a.tokens", micro / "corpus.txt"});
  ASSERT_EQ(prepared.code, 0) << prepared.err;
  EXPECT_THAT(prepared.out, HasSubstr("40 documents"));
  const std::string tokens = "data.train=[" + (micro / "a.tokens") + "]";
  micro.train_to_the_end("text");
  micro.train_to_the_end("tokens", {tokens});
  EXPECT_EQ(lines_of(micro / "tokens", "step").size(), 24U);
  // The order of the documents differs, which are held out does not.
  const Json from_text = json_of_command({"eval", micro / "text", "--json"});
  const Json from_tokens = json_of_command({"eval", micro / "tokens", "--json"});
  EXPECT_EQ(from_tokens.at("bytes"), from_text.at("bytes"));
  EXPECT_EQ(from_tokens.at("tokens"), from_text.at("tokens"));
  // The same file again, byte for byte; another seed, another order.
  ASSERT_EQ(run_program({"prepare", micro / "b.tokens", micro / "corpus.txt"}).code, 0);
  EXPECT_EQ(bytes_of_file(micro / "a.tokens"), bytes_of_file(micro / "b.tokens"));
  ASSERT_EQ(run_program({"prepare", micro / "c.tokens", micro / "corpus.txt", "--seed=2"}).code, 0);
  EXPECT_NE(bytes_of_file(micro / "a.tokens"), bytes_of_file(micro / "c.tokens"));
}

TEST(Commands, ARunFolderHoldsWhatIsPromised) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  for (const char* name :
       {"config.yaml", "metrics.jsonl", "log.txt", "tensorboard", "report.html",
        "checkpoints/step-00000024/state.h5", "checkpoints/step-00000024/manifest.json"}) {
    EXPECT_TRUE(fs::exists(micro / ("run/" + std::string(name)))) << name;
  }
  const std::string report = bytes_of_file(micro / "run/report.html");
  EXPECT_THAT(report, HasSubstr("</html>"));
  EXPECT_THAT(report, HasSubstr("step 24"));  // written at the end
  for (const char* outside : {"src=", "href=\"http", "<script", "@import"}) {
    EXPECT_THAT(report, testing::Not(HasSubstr(outside)));
  }
  fs::remove(micro / "run/report.html");
  const Ended again = run_program({"report", micro / "run"});
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(again.out, (micro / "run/report.html") + "\n");
  EXPECT_EQ(bytes_of_file(micro / "run/report.html"), report);
  // Parts add up; the configuration is complete and reads back.
  for (const std::string& line : lines_of(micro / "run", "step")) {
    const StepRecord record = *step_of(*parse_line(line));
    EXPECT_EQ(record.loss, record.ce + record.mtp + record.balance + record.index_kl);
    EXPECT_EQ(record.tokens, record.step * 192);
  }
  const Ended shown = run_program({"config", "show", micro / "run/config.yaml"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr("hidden_size: 32"));
}

TEST(Commands, DryRunMakesNothing) {
  const MicroRun micro;
  const auto before = everything_in(micro.folder().path());
  const Ended ended = micro.train("run", {"--dry-run"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  for (const char* word : {"parameters", "memory", "steps", " documents in "}) {
    EXPECT_THAT(ended.out, HasSubstr(word));
  }
  EXPECT_THAT(ended.out, Not(HasSubstr("attention layers.1 ")));
  const Ended with_ops = micro.train("run", {"--dry-run", "--ops"});
  EXPECT_THAT(with_ops.out, HasSubstr("attention layers.1 "));
  EXPECT_THAT(with_ops.out, testing::EndsWith(ended.out));
  EXPECT_EQ(micro.train("run", {"--ops"}).code, 2);
  EXPECT_EQ(everything_in(micro.folder().path()), before);
}

TEST(Commands, InspectAndVerify) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  ASSERT_EQ(run_program({"prepare", micro / "a.tokens", micro / "corpus.txt"}).code, 0);
  const std::string checkpoint = micro / "run/checkpoints/step-00000024";

  const Json held = json_of_command({"inspect", checkpoint, "--json"}).at("checkpoints").at(0);
  EXPECT_EQ(held.at("step"), 24);
  EXPECT_EQ(held.at("tokens"), 24 * 192);
  EXPECT_GT(held.at("tensors").size(), 50U);
  EXPECT_EQ(json_of_command({"inspect", micro / "run", "--json"}).at("checkpoints").size(), 3U);
  EXPECT_EQ(json_of_command({"inspect", micro / "a.tokens", "--json"}).at("documents"), 40);
  EXPECT_THAT(run_program({"inspect", checkpoint}).out, HasSubstr("/model/embed/weight"));

  for (const std::string& path : {checkpoint, micro / "run", micro / "a.tokens"}) {
    const Json whole = json_of_command({"verify", path, "--json"});
    EXPECT_EQ(whole.at("passed"), true);
    EXPECT_EQ(whole.at("path"), path);
    EXPECT_EQ(whole.at("problems"), Json::array());
  }
  flip_byte(checkpoint + "/state.h5", 5000);
  flip_byte(micro / "a.tokens", -50);
  for (const std::string& path : {checkpoint, micro / "run", micro / "a.tokens"}) {
    const Json damaged = json_of_command({"verify", path, "--json"}, 1);
    EXPECT_EQ(damaged.at("passed"), false);
    EXPECT_GE(damaged.at("problems").size(), 1U);
  }
  EXPECT_EQ(run_program({"verify", micro / "corpus.txt"}).code, 3);
}

TEST(Commands, Config) {
  const MicroRun micro;
  const Json shown = json_of_command({"config", "show", micro.config(), "optim.lr=1e-2", "--json"});
  EXPECT_EQ(shown.at("optim").at("lr"), 0.01);
  EXPECT_EQ(shown.at("model").at("hidden_size"), 32);
  EXPECT_EQ(shown.at("model").at("num_hidden_layers"), 2);  // derived
  EXPECT_EQ(shown.at("loss").at("mtp"), 0.3);               // a default
  EXPECT_GT(json_of_command({"config", "schema", "--json"}).size(), 3U);
  EXPECT_THAT(run_program({"config", "schema"}).out, HasSubstr("optim.lr"));

  const std::string other = micro.folder().write(
      "other.yaml", "extends: micro.yaml\noptim: {lr: 5e-3}\nmodel: {hc_mult: 4}\n");
  const Json differences = json_of_command({"config", "diff", micro.config(), other, "--json"});
  ASSERT_EQ(differences.size(), 2U);
  EXPECT_EQ(differences.at(0).at("key"), "model.hc_mult");
  EXPECT_EQ(differences.at(0).at("a"), "2");
  EXPECT_EQ(differences.at(1).at("b"), "0.005");
  const Ended text = run_program({"config", "diff", micro.config(), other});
  EXPECT_EQ(text.out, "model.hc_mult: 2 -> 4\noptim.lr: 0.004 -> 0.005\n");
}

TEST(Commands, ConfigDiffTakesRunsAndCheckpoints) {
  const MicroRun micro;
  micro.train_to_the_end("run", {"optim.lr=5e-3"});
  const auto diff = [&](const std::string& a, const std::string& b) {
    const Ended ended = run_program({"config", "diff", a, b});
    EXPECT_EQ(ended.code, 0) << ended.err;
    return ended.out;
  };
  const std::string run = micro / "run", checkpoint = run + "/checkpoints/step-00000020";
  EXPECT_THAT(diff(micro.config(), run), HasSubstr("optim.lr: 0.004 -> 0.005\n"));
  EXPECT_THAT(diff(run + "/", micro.config()), HasSubstr("optim.lr: 0.005 -> 0.004\n"));
  EXPECT_EQ(diff(run, checkpoint), "");
  ASSERT_EQ(
      run_program({"resume", run, "train.steps=30", "log.every=7", "--fork", micro / "fork"}).code,
      0);
  EXPECT_THAT(diff(checkpoint, micro / "fork"), HasSubstr("log.every: 3 -> 7\n"));
  const Ended neither = run_program({"config", "diff", run, micro.folder().path()});
  EXPECT_EQ(neither.code, 2);
  EXPECT_THAT(neither.last_line(), HasSubstr("a YAML file, a run or a checkpoint"));
}

TEST(Commands, BenchStepHasAllItsFields) {
  const MicroRun micro;
  const Json json = json_of_command({"bench", "step", micro.config(), "--steps", "20", "--json"});
  for (const char* key :
       {"step", "tokens", "loss", "ce", "mtp", "balance", "index_kl", "lr", "grad_norm",
        "step_seconds", "tokens_per_second", "matmul_peak_share", "peak_gflops", "threads",
        "page_faults_per_step", "arena_bytes", "parameters", "flops_per_token"}) {
    ASSERT_TRUE(json.contains(key)) << key;
    ASSERT_TRUE(json.at(key).is_number()) << key;
    EXPECT_TRUE(std::isfinite(json.at(key).get<double>())) << key;
  }
  EXPECT_EQ(json.at("threads"), 1);
  EXPECT_EQ(json.at("tokens"), 192);
  EXPECT_EQ(json.at("parameters"), 55022);
  EXPECT_GT(json.at("step_seconds"), 0.0);
  EXPECT_GT(json.at("peak_gflops"), 0.1);
  EXPECT_GT(json.at("matmul_peak_share"), 0.0);
  EXPECT_LT(json.at("matmul_peak_share"), 1.0);
#ifndef SHOAL_SANITIZED  // whose shadow memory is touched page by page
  EXPECT_EQ(json.at("page_faults_per_step"), 0.0);
#endif
  EXPECT_EQ(everything_in(micro.folder().path()),
            (std::set<std::string>{"corpus.txt", "micro.yaml"}));
}

TEST(Commands, BenchStepTimesTheFirstStage) {
  const MicroRun micro;
  const Ended ended = run_program({"bench", "step", micro.config(), "--json",
                                   "train.stages=[{from_step: 0, sequence_length: 16}, "
                                   "{from_step: 3, batch_tokens: 384}]"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("the first is timed"));
  EXPECT_EQ(Json::parse(ended.out).at("tokens"), 192);
  const Json one = json_of_command({"bench", "step", micro.config(), "--json"});
  EXPECT_LT(Json::parse(ended.out).at("flops_per_token"), one.at("flops_per_token"));
}

}  // namespace
}  // namespace shoal

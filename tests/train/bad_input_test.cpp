// Bad input gets one clear error and the right exit code, and leaves nothing behind.
#include <gmock/gmock.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/store.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using Words = std::vector<std::string>;

struct BadCase {
  const char* name;
  Words arguments;
  int code;
  Words said;  // in the error
};

int count(const std::string& text, const std::string& word) {
  int n = 0;
  for (std::size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += word.size()) ++n;
  return n;
}

// Runs each case; afterwards the folder has to hold what it held before.
void expect_refused(const MicroRun& micro, const std::vector<BadCase>& cases) {
  for (const BadCase& bad : cases) {
    SCOPED_TRACE(bad.name);
    const auto before = everything_in(micro.folder().path());
    const Ended ended = run_program(bad.arguments);
    EXPECT_EQ(ended.code, bad.code) << ended.err;
    EXPECT_EQ(ended.out, "");
    EXPECT_EQ(count(ended.err, "shoal: "), 1) << ended.err;  // one error
    // It is the last thing said: one line, or one for each problem of a configuration.
    const std::string error =
        ended.err.substr(std::min(ended.err.size(), ended.err.find("shoal: ")));
    for (const std::string& word : bad.said) EXPECT_THAT(error, HasSubstr(word));
    EXPECT_EQ(everything_in(micro.folder().path()), before);
  }
}

TEST(BadInput, CommandsAndFlags) {
  const MicroRun micro;
  expect_refused(
      micro,
      {{"nothing", {}, 2, {"--help"}},
       {"misspelt command", {"trian", micro.config()}, 2, {"unknown command 'trian'", "'train'"}},
       {"foreign command", {"frobnicate"}, 2, {"unknown command 'frobnicate'"}},
       {"misspelt inner command", {"config", "shw"}, 2, {"unknown command 'shw'", "'show'"}},
       {"inner command missing", {"bench"}, 2, {"subcommand"}},
       {"unknown flag", {"--frob"}, 2, {"unknown flag '--frob'"}},
       {"misspelt flag", {"generate", "run", "--promt=a"}, 2, {"'--promt'", "'--prompt'"}},
       {"flag of another command",
        {"train", micro.config(), "run.dir=" + micro / "run", "--fork", "x"},
        2,
        {"unknown flag '--fork'"}},
       {"value missing", {"generate", "run", "--prompt"}, 2, {"--prompt"}},
       {"no number", {"generate", "run", "--prompt", "a", "--tokens", "x"}, 2, {"--tokens", "x"}},
       {"out of range", {"generate", "run", "--prompt=a", "--top-p", "2"}, 2, {"--top-p", "2"}},
       {"no number at all", {"generate", "run", "--prompt=a", "--top-p=nan"}, 2, {"'nan'", "0"}},
       {"not a temperature", {"generate", "run", "--prompt=a", "--temperature=nan"}, 2, {"'nan'"}},
       {"seed below 0", {"generate", "run", "--prompt=a", "--seed=-3"}, 2, {"--seed", "'-3'"}},
       {"seed beyond 2^64",
        {"prepare", micro / "a.tokens", micro / "corpus.txt", "--seed=18446744073709551616"},
        2,
        {"--seed", "whole number"}},
       {"nothing to stop at",
        {"generate", "run", "--prompt=a", "--stop", ""},
        2,
        {"--stop", "empty"}},
       {"no shards", {"export", "run", micro / "x", "--shard-size=0"}, 2, {"--shard-size", "'0'"}},
       {"shards below 0", {"export", "run", micro / "x", "--shard-size=-5"}, 2, {"'-5'", "500MB"}},
       {"two formats", {"config", "schema", "--json", "--markdown"}, 2, {"--markdown", "--json"}},
       {"no configuration", {"train"}, 2, {"config"}},
       {"word without =", micro.train_arguments("run", {"fast"}), 2, {"'fast'", "key=value"}},
       {"missing file", {"train", micro / "none.yaml"}, 2, {"none.yaml", "cannot be read"}},
       {"folder", {"train", micro.folder().path()}, 2, {"folder"}},
       {"no run", {"resume", micro / "none"}, 2, {"none", "holds no run"}},
       {"nothing to evaluate", {"eval", micro / "none"}, 3, {"none"}},
       {"nothing to verify", {"verify", micro / "none"}, 3, {"none"}},
       {"foreign file", {"verify", micro.config()}, 3, {"micro.yaml"}},
       {"foreign folder", {"inspect", micro.folder().path()}, 3, {"is no run"}},
       {"no case", {"parity", micro / "none"}, 3, {"none"}},
       {"no run to report", {"report", micro.folder().path()}, 2, {"holds no run"}}});
}

TEST(BadInput, KeysAndTheirCombinations) {
  const MicroRun micro;
  const auto with = [&](const Words& overrides) { return micro.train_arguments("run", overrides); };
  expect_refused(
      micro,
      {{"unknown section", with({"modle.hidden_size=3"}), 2, {"modle", "did you mean 'model'"}},
       {"misspelt key", with({"model.hiden_size=3"}), 2, {"hiden_size", "'hidden_size'"}},
       {"mistyped", with({"train.steps=banana"}), 2, {"train.steps", "banana", "whole number"}},
       {"below range", with({"train.micro_batch=0"}), 2, {"train.micro_batch", "0"}},
       {"list for number", with({"optim.lr=[1]"}), 2, {"optim.lr"}},
       {"no such choice", with({"optim.matrices=moun"}), 2, {"moun", "muon"}},
       {"no such layer",
        with({"model.layer_types=[round_attention, sliding_attention]"}),
        2,
        {"model.layer_types", "round_attention", "full_attention"}},
       {"narrow indexer",
        with({"model.layer_types=[compressed_sparse_attention, sliding_attention]",
              "model.index_head_dim=2"}),
        2,
        {"model.index_head_dim", "qk_rope_head_dim"}},
       {"stages",
        with({"indexer.stage=[{stage: dense, from_step: 2}]"}),
        2,
        {"indexer.stage", "0"}},
       {"groups", with({"model.num_attention_heads=3"}), 2, {"o_groups", "3"}},
       {"experts", with({"model.num_experts_per_tok=9"}), 2, {"num_experts_per_tok", "9", "4"}},
       {"odd rotation", with({"model.qk_rope_head_dim=7"}), 2, {"qk_rope_head_dim", "even"}},
       {"rotation wider than a head", with({"model.qk_rope_head_dim=32"}), 2, {"head_dim"}},
       {"positions", with({"data.sequence_length=96"}), 2, {"max_position_embeddings", "64"}},
       {"batch", with({"train.batch_tokens=200"}), 2, {"train.batch_tokens", "200", "192"}},
       {"micro-batch", with({"train.micro_batch=4"}), 2, {"train.micro_batch", "4", "use 3"}},
       {"vocabulary", with({"model.vocab_size=100"}), 2, {"model.vocab_size", "258"}},
       {"no end", with({"train.steps=0"}), 2, {"train.steps", "train.minutes"}},
       {"no text", with({"data.train=[]"}), 2, {"data.train"}},
       {"prompt",
        with({"train.sample_prompts=[a, " + std::string(64, 'b') + "]"}),
        2,
        {"train.sample_prompts", "65 tokens", "max_position_embeddings 64"}},
       {"checkpoint of a new run", with({"checkpoint.step=5"}), 2, {"checkpoint.step", "use 0"}},
       {"tokenizer", with({"data.tokenizer=words"}), 2, {"data.tokenizer", "bytes"}},
       {"anchor", with({"run.name=*a"}), 2, {"run.name"}}});
}

TEST(BadInput, TheEnvironment) {
  const MicroRun micro;
  const std::string trace = micro / "none/trace.json";
  ::setenv("SHOAL_TRACE", trace.c_str(), 1);
  expect_refused(micro, {{"trace", micro.train_arguments("run"), 2, {"SHOAL_TRACE: " + trace}}});
  ::unsetenv("SHOAL_TRACE");
  const Ended ended = run_program({"config", "show", micro.config()}, {.threads = 100000});
  EXPECT_EQ(ended.code, 2) << ended.signal;
  EXPECT_THAT(ended.last_line(), HasSubstr("OMP_NUM_THREADS: 100000 threads"));
}

TEST(BadInput, YamlFiles) {
  const MicroRun micro;
  const std::string good = bytes_of_file(micro.config());
  const auto file = [&](const std::string& name, const std::string& text) {
    return Words{"train", micro.folder().write(name, text), "run.dir=" + (micro / "run")};
  };
  std::string bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n";
  for (char c = 'b'; c < 'j'; ++c) {
    bomb += c;
    bomb += concat(": &", c, " [");
    for (int i = 0; i < 9; ++i) bomb += concat(i > 0 ? ", " : "", "*", static_cast<char>(c - 1));
    bomb += "]\n";
  }
  expect_refused(
      micro,
      {{"duplicate", file("twice.yaml", good + "run: {seed: 5}\n"), 2, {"twice.yaml:", "run"}},
       {"tag", file("tag.yaml", good + "note: !!python/object x\n"), 2, {"tag.yaml:"}},
       {"indentation",
        file("indent.yaml", "model:\n  hidden_size: 32\n hc_mult: 2\n"),
        2,
        {"indent.yaml:3"}},
       {"tab", file("tab.yaml", "model:\n\thidden_size: 32\n"), 2, {"tab.yaml:2"}},
       {"bomb", file("bomb.yaml", bomb), 2, {"bomb.yaml"}},
       {"list", file("list.yaml", "- a\n"), 2, {"list.yaml"}},
       {"empty", file("empty.yaml", ""), 2, {"empty.yaml"}},
       {"binary", file("binary.yaml", std::string("\x89PNG\0\1", 6)), 2, {"binary.yaml"}}});

  // Several at once: all of them, each with its place.
  const Ended ended = run_program(
      file("several.yaml", good + "lgo: {every: 1}\n" + "stability: {router_bias_speed: fast}\n"));
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.err, HasSubstr("several.yaml:25:1: lgo: unknown key; did you mean 'log'?"));
  EXPECT_THAT(ended.err, HasSubstr("several.yaml:26:32: stability.router_bias_speed: 'fast'"));
  EXPECT_FALSE(fs::exists(micro / "run"));
}

TEST(BadInput, Corpora) {
  const MicroRun micro;
  const auto corpus = [&](const std::string& name, std::string_view text) {
    return micro.train_arguments("run", {"data.train=[" + micro.folder().write(name, text) + "]"});
  };
  expect_refused(
      micro,
      {{"missing",
        micro.train_arguments("run", {"data.train=[" + (micro / "none.txt") + "]"}),
        3,
        {"none.txt"}},
       {"empty", corpus("empty.txt", ""), 3, {"empty.txt", "no text"}},
       {"one byte", corpus("one.txt", "x"), 3, {"data.validation", "1 document"}},
       {"latin-1", corpus("latin.txt", "a\n\nb\n\nsch\xF6n\n"), 3, {"latin.txt:5", "UTF-8"}},
       {"broken jsonl", corpus("a.jsonl", "{\"text\": \"x\"}\n{\"text\":\n"), 3, {"a.jsonl:2"}},
       {"jsonl without text", corpus("b.jsonl", "{\"txt\": \"x\"}\n"), 3, {"b.jsonl:1", "text"}},
       {"nothing to train on",
        micro.train_arguments("run", {"data.validation=0.999"}),
        3,
        {"data.validation", "nothing to train on"}},
       {"nothing to validate on",
        micro.train_arguments("run", {"data.validation=0.001"}),
        3,
        {"data.validation", "nothing to validate on"}},
       {"no validation file",
        micro.train_arguments("run", {"data.validation=[" + (micro / "none.txt") + "]"}),
        3,
        {"none.txt"}},
       {"nothing to prepare",
        {"prepare", micro / "x.tokens", micro / "none.txt"},
        3,
        {"none.txt"}}});
  // A line of two million bytes is a line.
  const std::string huge = micro.folder().write("huge.txt", std::string(2000000, 'a') + "\n\nb\n");
  const std::string held_out = "data.validation=[" + (micro / "corpus.txt") + "]";
  const Ended ended = micro.train("run", {"data.train=[" + huge + "]", held_out, "train.steps=1"});
  EXPECT_EQ(ended.code, 0) << ended.err;
}

TEST(BadInput, TokenFiles) {
  const MicroRun micro;
  const std::string tokens = micro / "a.tokens";
  ASSERT_EQ(run_program({"prepare", tokens, micro / "corpus.txt"}).code, 0);
  const std::string whole = bytes_of_file(tokens);
  const auto file = [&](const std::string& name, const std::string& bytes) {
    return micro.train_arguments("run", {"data.train=[" + micro.folder().write(name, bytes) + "]"});
  };
  std::string damaged = whole, lengths = whole;
  damaged[damaged.size() - 100] ^= 1;
  for (std::size_t i = 8; i < 64; ++i) lengths[i] = '\xff';
  expect_refused(micro,
                 {{"cut", file("cut.tokens", whole.substr(0, 300)), 3, {"cut.tokens"}},
                  {"header cut", file("head.tokens", whole.substr(0, 9)), 3, {"head.tokens"}},
                  {"empty", file("none.tokens", ""), 3, {"none.tokens"}},
                  {"longer", file("long.tokens", whole + "x"), 3, {"long.tokens"}},
                  {"damaged", file("damaged.tokens", damaged), 3, {"damaged.tokens"}},
                  {"huge lengths", file("lengths.tokens", lengths), 3, {"lengths.tokens"}},
                  {"foreign", file("text.tokens", "in the beginning"), 3, {"text.tokens"}}});
  EXPECT_EQ(run_program({"verify", tokens}).code, 0);
  EXPECT_EQ(run_program({"verify", micro / "damaged.tokens"}).code, 1);
  EXPECT_EQ(run_program({"inspect", micro / "cut.tokens"}).code, 3);
}

TEST(BadInput, MemoryThatWillNotFit) {
  const MicroRun micro;
  const auto with = [&](const Words& overrides) { return micro.train_arguments("run", overrides); };
  expect_refused(
      micro,
      {{"width", with({"model.hidden_size=200000"}), 2, {"GiB", "lower model.hidden_size"}},
       {"absurd width", with({"model.hidden_size=20000000"}), 2, {"model.hidden_size"}},
       {"vocabulary", with({"model.vocab_size=2000000000"}), 2, {"lower model.vocab_size"}},
       {"micro-batch",
        with({"train.micro_batch=20000000", "train.batch_tokens=640000000"}),
        2,
        {"GiB", "lower train.micro_batch"}},
       {"sequence",
        with({"data.sequence_length=1000000000", "model.max_position_embeddings=1000000000",
              "train.batch_tokens=1000000000", "train.micro_batch=1"}),
        2,
        {"GiB", "lower data.sequence_length"}},
       {"bench", {"bench", "step", micro.config(), "model.hidden_size=200000"}, 2, {"GiB"}}});
  // Before their names are listed.
  const auto begin = std::chrono::steady_clock::now();
  expect_refused(micro, {{"experts",
                          with({"model.n_routed_experts=2000000"}),
                          2,
                          {"n_routed_experts: 2000000 in each of 2 layers", "at most 131072"}}});
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST(BadInput, FoldersThatCannotBeWritten) {
  const MicroRun micro;
  const auto in = [&](const std::string& dir) {
    return Words{"train", micro.config(), "run.dir=" + dir};
  };
  expect_refused(micro, {{"below a file", in(micro / "corpus.txt/run"), 5, {"corpus.txt/run"}},
                         {"a file", in(micro / "corpus.txt"), 5, {"corpus.txt"}},
                         {"no folder may be made", in("/proc/run"), 5, {"/proc/run"}},
                         {"tokens below a file",
                          {"prepare", micro / "corpus.txt/a.tokens", micro / "corpus.txt"},
                          2,
                          {"a.tokens"}}});
}

TEST(BadInput, ARunStaysInItsFolder) {
  const MicroRun micro;
  micro.train_to_the_end("run", {"train.steps=2"});
  const Ended ended = run_program({"resume", micro / "run", "run.dir=" + (micro / "other")});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.last_line(), HasSubstr("run.dir: a run goes on in its own folder"));
  EXPECT_FALSE(fs::exists(micro / "other"));
}

TEST(BadInput, EvalTakesOnlyWhatDecidesAnEvaluation) {
  const MicroRun micro;
  micro.train_to_the_end("run", {"train.steps=2"});
  for (const std::string setting : {"optim.lr=1", "train.steps=3", "run.seed=4", "log.every=5"}) {
    const std::string key = setting.substr(0, setting.find('='));
    expect_refused(micro, {{setting.c_str(),
                            {"eval", micro / "run", "data.sequence_length=16", setting},
                            2,
                            {key + ": changes nothing", "eval takes data, indexer, model"}}});
  }
}

// ---- Checkpoints -------------------------------------------------------------------------------

std::string state_file(const std::string& run, std::int64_t step) {
  return concat(run, "/checkpoints/step-000000", step, "/state.h5");
}

TEST(BadCheckpoint, ADamagedOneIsPassedOver) {
  const MicroRun micro;
  micro.train_to_the_end("undisturbed");
  micro.train_to_the_end("run");
  flip_byte(state_file(micro / "run", 24), 5000);
  const Ended verified = run_program({"verify", micro / "run"});
  EXPECT_EQ(verified.code, 1);
  EXPECT_THAT(verified.out, HasSubstr("step-00000024"));
  const Ended evaluated = run_program({"eval", micro / "run"});
  EXPECT_EQ(evaluated.code, 0);
  EXPECT_THAT(evaluated.err, HasSubstr("step-00000024"));
  EXPECT_THAT(evaluated.out, HasSubstr("step 20"));

  const Ended ended = run_program({"resume", micro / "run"});
  EXPECT_EQ(ended.code, 0) << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("step-00000024/state.h5"));
  EXPECT_THAT(ended.err, HasSubstr("going on from step 20 instead of 24: 4 steps are lost"));
  expect_equal_runs(micro / "run", micro / "undisturbed");
  EXPECT_EQ(run_program({"verify", micro / "run"}).code, 0);
}

TEST(BadCheckpoint, WithoutAWholeOneNothingIsDone) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  flip_byte(state_file(micro / "run", 24), -1);
  fs::resize_file(state_file(micro / "run", 20), 1000);
  fs::remove(state_file(micro / "run", 15));
  const auto before = everything_in(micro.folder().path());
  const std::string metrics = bytes_of_file(micro / "run/metrics.jsonl");
  EXPECT_EQ(run_program({"inspect", micro / "run"}).code, 3);
  for (const std::string command : {"resume", "eval"}) {
    const Ended ended = run_program({command, micro / "run"});
    EXPECT_EQ(ended.code, 3) << command << ended.err;
    for (const char* step : {"00000024", "00000020", "00000015"}) {
      EXPECT_THAT(ended.last_line(), HasSubstr(step)) << command;
    }
  }
  EXPECT_EQ(everything_in(micro.folder().path()), before);
  EXPECT_EQ(bytes_of_file(micro / "run/metrics.jsonl"), metrics);
}

TEST(BadCheckpoint, InspectShowsTheOthers) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  flip_byte(state_file(micro / "run", 20), 5000);
  const Ended text = run_program({"inspect", micro / "run"});
  EXPECT_EQ(text.code, 3);
  for (const char* said : {"step-00000024: step 24", "20: damaged", "step-00000015: step 15"}) {
    EXPECT_THAT(text.out, HasSubstr(said));
  }
  EXPECT_THAT(text.last_line(), HasSubstr("step-00000020/state.h5"));
  const Ended json = run_program({"inspect", micro / "run", "--json"});
  EXPECT_EQ(json.code, 3);
  const Json list = Json::parse(json.out).at("checkpoints");
  ASSERT_EQ(list.size(), 3U);
  EXPECT_THAT(list.at(1).at("problem").get<std::string>(), HasSubstr("state.h5"));
  EXPECT_EQ(list.at(2).at("step"), 15);
}

TEST(BadCheckpoint, EvalTakesTheStepThatIsAskedFor) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  EXPECT_THAT(run_program({"eval", micro / "run", "checkpoint.step=15"}).out,
              testing::StartsWith("step 15: "));
  const Ended missing = run_program({"eval", micro / "run", "checkpoint.step=7"});
  EXPECT_EQ(missing.code, 3);
  EXPECT_THAT(missing.last_line(), HasSubstr("no checkpoint of step 7"));
  const Ended other =
      run_program({"eval", micro / "run/checkpoints/step-00000020", "checkpoint.step=15"});
  EXPECT_EQ(other.code, 2);
  EXPECT_THAT(other.last_line(), HasSubstr("is of step 20, not 15"));

  // The newest one is not looked at: here it holds the configuration of another program.
  PosixIo io;
  CheckpointStore::Stored stored = read_stored(io, micro / "run");
  StateView newest = stored.state.view();
  newest.step = 25;
  newest.config = "model: {unheard_of: 1}\n";
  CheckpointStore(io, micro / "run/checkpoints").save(newest, stored.report.manifest.info, 3);
  EXPECT_EQ(run_program({"eval", micro / "run"}).code, 2);
  EXPECT_THAT(run_program({"eval", micro / "run", "checkpoint.step=20"}).out,
              testing::StartsWith("step 20: "));
}

TEST(BadCheckpoint, OfAnotherModelIsRefused) {
  const MicroRun micro;
  micro.train_to_the_end("run");
  micro.train_to_the_end("wide", {"model.hidden_size=40"});
  fs::remove_all(micro / "run/checkpoints/step-00000024");
  fs::copy(micro / "wide/checkpoints/step-00000024", micro / "run/checkpoints/step-00000024",
           fs::copy_options::recursive);
  const Ended ended = run_program({"resume", micro / "run"});
  EXPECT_EQ(ended.code, 3);
  EXPECT_THAT(ended.last_line(), HasSubstr("step-00000024"));
  EXPECT_THAT(ended.err, HasSubstr("/model/embed/weight"));
  const Ended started = micro.train("new", {"train.init_from=" + (micro / "wide")});
  EXPECT_EQ(started.code, 3);
  EXPECT_THAT(started.err, HasSubstr("/model/embed/weight"));
  EXPECT_FALSE(fs::exists(micro / "new"));
}

// ---- Disk and pipes ----------------------------------------------------------------------------

TEST(BadDisk, AFullOneCostsCheckpointsAndExits5AtTheEnd) {
  SKIP_WITHOUT_FILE_LIMIT();
  const MicroRun micro;
  micro.train_to_the_end("undisturbed");
  // A checkpoint has 640 kB; metrics, log and report stay below the limit.
  const Ended ended = micro.train("run", {}, {.file_bytes = 300000});
  EXPECT_EQ(ended.code, 5) << ended.signal << ended.err;
  EXPECT_THAT(ended.err, HasSubstr("no checkpoint at step 5"));
  EXPECT_THAT(ended.err, HasSubstr("no checkpoint at step 20"));
  EXPECT_THAT(ended.last_line(), HasSubstr("state.h5"));
  EXPECT_EQ(numbers_of(micro / "run"), numbers_of(micro / "undisturbed"));
  EXPECT_THAT(everything_in(micro / "run/checkpoints"), testing::IsEmpty());
  EXPECT_TRUE(fs::exists(micro / "run/report.html"));
  const Ended resumed = run_program({"resume", micro / "run"});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  expect_equal_runs(micro / "run", micro / "undisturbed");
}

// Where not even its beginning can be written there is no run.
TEST(BadDisk, AFullOneAtTheBeginningLeavesNoFolder) {
  SKIP_WITHOUT_FILE_LIMIT();
  const MicroRun micro;
  micro.train_to_the_end("run", {"train.steps=2"});
  const auto before = everything_in(micro.folder().path());
  // LLVM's OpenMP library writes 1,024 bytes before main; a configuration takes more than 2,000.
  const Ended ended = micro.train("new", {}, {.file_bytes = 1500});
  EXPECT_EQ(ended.code, 5) << ended.signal << ended.err;
  EXPECT_THAT(ended.last_line(), HasSubstr("config.yaml"));
  const Ended forked =
      run_program({"resume", micro / "run", "--fork", micro / "fork"}, {.file_bytes = 300000});
  EXPECT_EQ(forked.code, 5) << forked.signal << forked.err;
  EXPECT_EQ(everything_in(micro.folder().path()), before);
}

// Without steps the clock ends a run, and its end has to be saved all the same.
TEST(BadDisk, AFullOneAtTheEndOfTheMinutesExits5) {
  SKIP_WITHOUT_FILE_LIMIT();
  const MicroRun micro;
  const Ended ended = micro.train(
      "run", {"train.steps=0", "train.minutes=0.002", "log.every=1000", "train.eval_every=0"},
      {.file_bytes = 300000});
  EXPECT_EQ(ended.code, 5) << ended.signal << ended.err;
}

TEST(BadDisk, AFullOneLeavesNoHalfTokenFile) {
  SKIP_WITHOUT_FILE_LIMIT();
  const MicroRun micro;
  const Ended ended =
      run_program({"prepare", micro / "a.tokens", micro / "corpus.txt"}, {.file_bytes = 2000});
  EXPECT_EQ(ended.code, 5) << ended.signal << ended.err;
  EXPECT_EQ(everything_in(micro.folder().path()),
            (std::set<std::string>{"corpus.txt", "micro.yaml"}));
}

TEST(BadDisk, OutputThatCannotBeWrittenIsAnError) {
  const MicroRun micro;
  const Ended ended = run_program({"config", "show", micro.config()}, {.out = Stream::kFull});
  EXPECT_EQ(ended.code, 5);
  EXPECT_THAT(ended.last_line(), HasSubstr("standard output"));
}

TEST(BadStreams, DoNotStopARun) {
  const MicroRun micro;
  micro.train_to_the_end("undisturbed");
  int n = 0;
  for (const Stream stream : {Stream::kClosed, Stream::kBrokenPipe, Stream::kFull}) {
    const std::string run = concat("run-", n++);
    const Ended ended = micro.train(run, {}, {.out = stream, .err = stream});
    EXPECT_EQ(ended.code, 0) << ended.signal;
    expect_equal_runs(micro / run, micro / "undisturbed");
    EXPECT_EQ(bytes_of_file(micro / (run + "/lock")), "") << "messages went into a file";
    EXPECT_EQ(bytes_of_file(micro / (run + "/config.yaml")).substr(0, 7), "# shoal");
  }
}

}  // namespace
}  // namespace shoal

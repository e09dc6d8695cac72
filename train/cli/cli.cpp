#include "train/cli/cli.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <new>

#include "autograd/base/check.h"
#include "autograd/base/memory.h"
#include "autograd/base/parallel.h"
#include "autograd/base/printable.h"
#include "autograd/base/trace.h"
#include "train/cli/commands.h"
#include "train/config/document/suggest.h"
#include "train/config/schema/values.h"
#include "train/metrics/console.h"
#include "train/metrics/log_setup.h"
#include "train/run/version.h"

namespace shoal {
namespace {

constexpr int kUsageCode = static_cast<int>(Failure::kUsage);

struct Options {
  TrainArguments train;
  ResumeArguments resume;
  EvalArguments eval;
  GenerateArguments generate;
  PrepareArguments prepare;
  ExportArguments exported;
  ImportArguments imported;
  ConfigArguments show;
  BenchArguments bench;
  CostArguments cost;
  BenchDecodeArguments bench_decode;
  std::string path, other;
  std::vector<std::string> cases;
  bool json = false, markdown = false;
};

CLI::App* command(CLI::App& parent, const std::string& name, const std::string& what,
                  const std::string& example) {
  CLI::App* app = parent.add_subcommand(name, what);
  app->footer("Example:\n  " + example);
  return app;
}

void add_overrides(CLI::App* app, std::vector<std::string>& overrides,
                   const std::string& examples = "optim.lr=3e-4 or model.hc_mult=2") {
  app->add_option("overrides", overrides, "settings as key=value, such as " + examples)
      ->type_name("key=value");
}
// A CLI::Range lets NaN pass, and an option without a sign reads -1 as a huge number.
CLI::Validator number_between(double low, double high) {
  return CLI::Validator(
      [=](std::string& text) {
        char* end = nullptr;
        const double value = std::strtod(text.c_str(), &end);
        const bool good = end != text.c_str() && *end == '\0' && value >= low && value <= high;
        return good ? "" : concat("'", printable(text), "' is no number from ", low, " to ", high);
      },
      "NUMBER");
}
CLI::Validator whole_number() {
  return CLI::Validator(
      [](std::string& text) {
        std::uint64_t value = 0;
        const char* end = text.data() + text.size();
        const auto read = std::from_chars(text.data(), end, value);
        const bool good = read.ec == std::errc() && read.ptr == end;
        return good ? "" : concat("'", printable(text), "' is no whole number from 0 to 2^64 - 1");
      },
      "NUMBER");
}
CLI::Validator not_empty() {
  return CLI::Validator(
      [](std::string& text) { return std::string(text.empty() ? "is empty; give text" : ""); }, "");
}
// The size that follows is read without its sign.
CLI::Validator positive_size() {
  return CLI::Validator(
      [](std::string& text) {
        const bool good = text.find_first_of("123456789") != text.npos && text[0] != '-';
        return good ? "" : concat("'", printable(text), "' is no size above 0, such as 500MB");
      },
      "");
}

// Of a folder or file to be made: one that is named "$HOME" was not meant.
CLI::Validator written_out() {
  return CLI::Validator(
      [](std::string& text) {
        const auto shorthand = find_shorthand(text);
        return shorthand ? printable(text) + ": " + *shorthand : std::string();
      },
      "");
}

void add_json(CLI::App* app, bool& json) { app->add_flag("--json", json, "print one JSON object"); }

void add_strict(CLI::App* app, bool& strict) {
  app->add_flag("--strict", strict, "exit with 4 where the run has diverged");
}

// Declares every subcommand; `code` receives the result of the one that runs.
void declare(CLI::App& app, Options& o, int& code) {
  CLI::App* c = command(app, "train", "train a new run from a configuration",
                        "shoal train configs/replicas/tiny.yaml optim.lr=2e-3 run.dir=/tmp/try");
  c->add_option("config", o.train.config, "a YAML file")->required()->type_name("CONFIG.yaml");
  add_overrides(c, o.train.overrides);
  CLI::Option* dry = c->add_flag("--dry-run", o.train.dry_run,
                                 "only check, and print sizes, memory and what the data holds");
  c->add_flag("--ops", o.train.ops, "with --dry-run: also every op of a micro-batch")->needs(dry);
  c->add_flag("--or-resume", o.train.or_resume,
              "go on with the run in run.dir if its settings are the same (requeued jobs)");
  add_strict(c, o.train.strict);
  c->callback([&] { code = train_command(o.train); });

  c = command(app, "resume", "go on from a run's newest checkpoint that verifies",
              "shoal resume runs/tiny");
  c->add_option("run", o.resume.run, "a run's folder")->required()->type_name("RUN");
  add_overrides(c, o.resume.overrides);
  c->add_option("--fork", o.resume.fork,
                "go on in a new run instead; settings that change the numbers are allowed then")
      ->type_name("NEW_RUN")
      ->check(written_out());
  add_strict(c, o.resume.strict);
  c->callback([&] { code = resume_command(o.resume); });

  c = command(app, "eval", "loss and bits per byte on the validation data",
              "shoal eval runs/tiny --json");
  c->add_option("run", o.eval.run, "a run or one of its checkpoints")->required()->type_name("RUN");
  add_overrides(c, o.eval.overrides, "checkpoint.step=500 or data.validation=[FILE]");
  add_json(c, o.eval.json);
  c->callback([&] { code = eval_command(o.eval); });

  c = command(app, "generate", "continue prompts, token by token from a compressed cache",
              "shoal generate runs/tiny --prompt \"In the beginning \" --tokens 300 --stop \".\"");
  c->add_option("run", o.generate.run, "a run or one of its checkpoints")
      ->required()
      ->type_name("RUN");
  add_overrides(c, o.generate.overrides, "model.fp4.experts=ptq or checkpoint.step=500");
  c->add_option("--prompt", o.generate.prompts,
                "text to continue; - reads it from stdin; several are continued together")
      ->required()
      ->allow_extra_args(false)
      ->type_name("TEXT");
  c->add_option("--samples", o.generate.samples, "texts for each prompt, every one drawn anew")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1000}));
  c->add_option("--tokens", o.generate.tokens, "at most this many")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40));
  c->add_option("--temperature", o.generate.temperature, "0: always the likeliest")
      ->capture_default_str()
      ->check(number_between(0.0, 100.0));
  c->add_option("--top-k", o.generate.top_k, "keep this many of the likeliest tokens; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40));
  c->add_option("--top-p", o.generate.top_p, "of these, the likeliest up to this probability")
      ->capture_default_str()
      ->check(number_between(1e-9, 1.0));
  c->add_option("--stop", o.generate.stops, "a text ends before this one; may be given again")
      ->allow_extra_args(false)
      ->type_name("TEXT")
      ->check(not_empty());
  c->add_option("--seed", o.generate.seed, "another seed, another text")
      ->capture_default_str()
      ->check(whole_number());
  add_json(c, o.generate.json);
  c->callback([&] { code = generate_command(o.generate); });

  c = command(app, "prepare", "tokenize text into one file that loads at once",
              "shoal prepare kjv.tokens corpora/kjv.txt");
  c->add_option("out", o.prepare.out, "the file to write")
      ->required()
      ->type_name("OUT.tokens")
      ->check(written_out());
  c->add_option("inputs", o.prepare.inputs, "text, .jsonl, .tokens or folders of them")
      ->required()
      ->type_name("INPUT");
  c->add_option("--tokenizer", o.prepare.tokenizer, "how text becomes ids")->capture_default_str();
  c->add_option("--seed", o.prepare.seed, "shuffles the documents")
      ->capture_default_str()
      ->check(whole_number());
  c->callback([&] { code = prepare_command(o.prepare); });

  c = command(app, "report", "write a run's report.html again", "shoal report runs/tiny");
  c->add_option("run", o.path, "a run's folder")->required()->type_name("RUN");
  c->callback([&] { code = report_command(o.path); });

  c = command(app, "export", "write a Hugging Face model folder, which transformers loads",
              "shoal export runs/tiny hub/tiny");
  c->add_option("run", o.exported.run, "a run or one of its checkpoints")
      ->required()
      ->type_name("RUN");
  c->add_option("dir", o.exported.folder, "the new folder")
      ->required()
      ->type_name("DIR")
      ->check(written_out());
  c->add_option("--shard-size", o.exported.shard_bytes,
                "larger weights go to several files of at most this, such as 500MB")
      ->transform(CLI::AsSizeValue(true))
      ->transform(positive_size())  // the later one goes first
      ->option_text("SIZE (5GB)");
  c->add_flag("--fp4", o.exported.fp4,
              "routed experts packed in FP4 as DeepSeek publishes them, for `shoal import`");
  c->callback([&] { code = export_command(o.exported); });

  c = command(app, "import", "make a run of a Hugging Face model folder",
              "shoal import hub/tiny runs/again");
  c->add_option("dir", o.imported.folder, "config.json and model.safetensors, or shards")
      ->required()
      ->type_name("DIR");
  c->add_option("run", o.imported.run, "the new run's folder")
      ->required()
      ->type_name("RUN")
      ->check(written_out());
  c->callback([&] { code = import_command(o.imported); });

  c = command(app, "inspect", "what a checkpoint, token file or model folder holds",
              "shoal inspect runs/tiny/checkpoints/step-00000100");
  c->add_option("path", o.path, "what to look into")->required()->type_name("PATH");
  add_json(c, o.json);
  c->callback([&] { code = inspect_command(o.path, o.json); });

  c = command(app, "verify", "check a checkpoint, run, token file or model folder",
              "shoal verify runs/tiny");
  c->add_option("path", o.path, "what to check")->required()->type_name("PATH");
  add_json(c, o.json);
  c->callback([&] { code = verify_command(o.path, o.json); });

  c = command(app, "parity", "compare with an independent implementation's numbers",
              "shoal parity tests/golden/window");
  c->add_option("cases", o.cases, "folders of golden numbers")->required()->type_name("CASE");
  add_json(c, o.json);
  c->callback([&] { code = parity_command(o.cases, o.json); });

  CLI::App* config = command(app, "config", "show, document or compare configurations",
                             "shoal config show configs/replicas/tiny.yaml optim.lr=1e-3");
  config->require_subcommand(1);
  c = command(*config, "show", "the complete configuration, and where each value comes from",
              "shoal config show configs/replicas/tiny.yaml optim.lr=1e-3");
  c->add_option("config", o.show.config, "a YAML file")->required()->type_name("CONFIG.yaml");
  add_overrides(c, o.show.overrides);
  add_json(c, o.show.json);
  c->callback([&] { code = config_show_command(o.show); });
  c = command(*config, "schema", "every key, its default and its meaning",
              "shoal config schema --json > schema.json");
  add_json(c, o.json);
  c->add_flag("--markdown", o.markdown, "print a table in markdown")->excludes("--json");
  c->callback([&] { code = config_schema_command(o.json, o.markdown); });
  c = command(*config, "diff", "the keys in which two configurations or runs differ",
              "shoal config diff configs/replicas/tiny.yaml runs/tiny");
  c->add_option("a", o.path, "a YAML file, a run or a checkpoint")->required()->type_name("A");
  c->add_option("b", o.other, "another one")->required()->type_name("B");
  add_json(c, o.json);
  c->callback([&] { code = config_diff_command(o.path, o.other, o.json); });

  c = command(app, "cost", "parameters, FLOPs, cache and memory, beside DeepSeek-V3.2's",
              "shoal cost configs/full/v4-flash.yaml --context 4096,1048576");
  c->add_option("config", o.cost.config, "a YAML file or a model's config.json")
      ->required()
      ->type_name("CONFIG");
  add_overrides(c, o.cost.overrides);
  c->add_option("--context", o.cost.contexts, "lengths in tokens")
      ->delimiter(',')
      ->type_name("N,N,...")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  add_json(c, o.cost.json);
  c->callback([&] { code = cost_command(o.cost); });

  CLI::App* bench = command(app, "bench", "measure speed",
                            "shoal bench step "
                            "configs/replicas/base.yaml optim.matrices=adamw --json");
  bench->require_subcommand(1);
  c = command(*bench, "step", "time training steps on random tokens; of stages by step, the first",
              "shoal bench step configs/replicas/base.yaml optim.matrices=adamw --json");
  c->add_option("config", o.bench.config, "a YAML file")->required()->type_name("CONFIG.yaml");
  add_overrides(c, o.bench.overrides);
  c->add_option("--steps", o.bench.steps, "timed steps")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  c->add_option("--warmup", o.bench.warmup, "steps before them")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000000));
  add_json(c, o.bench.json);
  c->callback([&] { code = bench_step_command(o.bench); });
  c = command(*bench, "decode", "time generation, token by token at the end of a long context",
              "shoal bench decode configs/replicas/small.yaml --context 65536 --json");
  c->add_option("config", o.bench_decode.config, "a YAML file")
      ->required()
      ->type_name("CONFIG.yaml");
  add_overrides(c, o.bench_decode.overrides);
  c->add_option("--context", o.bench_decode.context, "tokens in the cache, of made-up numbers")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30));
  c->add_option("--tokens", o.bench_decode.tokens, "timed tokens")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  c->add_flag("!--no-dense", o.bench_decode.dense,
              "do not compare with full_attention in every layer");
  add_json(c, o.bench_decode.json);
  c->callback([&] { code = bench_decode_command(o.bench_decode); });
  c = command(*bench, "peak", "what this machine can do at best, and what matrix products reach",
              "shoal bench peak");
  add_json(c, o.json);
  c->callback([&] { code = bench_peak_command(o.json); });
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  return flags;
}

// The first word that has no meaning where it stands, as a sentence; "" if each has one. The
// parser itself would rather say what is missing: a misspelt command is a missing one to it.
std::string unknown_word(CLI::App& app) {
  CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  std::vector<std::string> commands;
  for (const CLI::App* sub : command->get_subcommands({})) commands.push_back(sub->get_name());
  for (const std::string& word : app.remaining(true)) {
    const bool is_flag = word.starts_with("-") && word.size() > 1;
    if (!is_flag && commands.empty()) continue;
    std::vector<std::string> known = is_flag ? flags_of(app) : commands;
    if (is_flag && command != &app) {
      for (std::string& flag : flags_of(*command)) known.push_back(std::move(flag));
    }
    const std::string name = word.substr(0, word.find('='));
    const std::optional<std::string> close = suggest(name, known);
    return concat(is_flag ? "unknown flag '" : "unknown command '", printable(name), "'",
                  close ? "; did you mean '" + *close + "'?" : "");
  }
  return "";
}

// "shoal bench step": the command that was being read.
std::string name_of(const CLI::App& app) {
  std::string name = app.get_name();
  for (const CLI::App* c = &app; !c->get_subcommands().empty();) {
    c = c->get_subcommands().front();
    name += ' ' + c->get_name();
  }
  return name;
}

int parse_and_run(int argc, char** argv) {
  CLI::App app("Shoal trains small replicas of DeepSeek-V4 on CPUs.", "shoal");
  app.footer(
      "Each command has --help. Exit codes: 0 done, 1 comparison failed, 2 usage or config,\n"
      "3 bad data or checkpoint, 4 numbers went bad, 5 disk, 75 stopped after saving.\n\n"
      "Example:\n  shoal train configs/replicas/tiny.yaml");
  app.set_version_flag("--version", [] { return version_details(); });
  app.require_subcommand(1);
  int verbosity = 0, quiet = 0;
  app.add_flag("-v,--verbose", verbosity, "say more");
  app.add_flag("-q,--quiet", quiet, "warnings only; -qq: errors only");
  app.fallthrough();
  app.parse_complete_callback([&] {
    set_up_log(std::clamp(verbosity - quiet, -2, 1));
    check_trace();
  });
  Options options;
  int code = 0;
  declare(app, options, code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    app.exit(help);
    return 0;
  } catch (const CLI::Success& done) {
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    const std::string unknown = unknown_word(app);
    std::cerr << "shoal: " << (unknown.empty() ? printable(error.what()) : unknown) << "; see `"
              << name_of(app) << " --help`\n";
    return kUsageCode;
  }
  return code;
}

// A closed descriptor 0, 1 or 2 would go to the next file that is opened, and messages into it.
void open_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)!::open("/dev/null", O_RDWR);
  }
}

}  // namespace

int run_cli(int argc, char** argv) {
  open_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its size limit is a failed write like any other
  keep_heap_pages();
  int code = static_cast<int>(Failure::kInternal);
  std::string why;
  try {
    set_threads_from_environment();
    code = parse_and_run(argc, argv);
    if (std::cout.flush()) return code;
    code = static_cast<int>(Failure::kDisk);
    why = "standard output cannot be written";
  } catch (const Error& error) {
    code = static_cast<int>(error.why());
    why = error.what();
  } catch (const std::bad_alloc&) {
    code = kUsageCode;
    why = "out of memory: lower train.micro_batch or data.sequence_length";
  } catch (const std::exception& error) {
    why = std::string("internal error: ") + error.what();
  }
  Console::standard_error().line("shoal: " + printable_lines(why));
  log_to_file("error: " + printable_lines(why));
  return code;
}

}  // namespace shoal

#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace shoal {

// What the subcommands were given. Each function is one subcommand and returns the exit code; data
// goes to stdout, all else to stderr.
struct TrainArguments {
  std::string config;
  std::vector<std::string> overrides;
  bool dry_run = false, ops = false;
  bool or_resume = false;  // a run in run.dir with the same settings goes on
  bool strict = false;     // a run that has diverged is a failure: exit code 4
};
int train_command(const TrainArguments& args);

struct ResumeArguments {
  std::string run;
  std::vector<std::string> overrides;
  std::string fork;  // a new run's folder; empty: go on in place
  bool strict = false;
};
int resume_command(const ResumeArguments& args);

struct EvalArguments {
  std::string run;
  std::vector<std::string> overrides;
  bool json = false;
};
int eval_command(const EvalArguments& args);

struct GenerateArguments {
  std::string run;
  std::vector<std::string> overrides;
  std::vector<std::string> prompts, stops;
  std::int64_t tokens = 200, top_k = 0, samples = 1;
  double temperature = 0.8, top_p = 1.0;
  std::uint64_t seed = 1;
  bool json = false;
};
int generate_command(const GenerateArguments& args);

struct PrepareArguments {
  std::string out;
  std::vector<std::string> inputs;
  std::string tokenizer = "bytes";
  std::uint64_t seed = 1;
};
int prepare_command(const PrepareArguments& args);

struct ExportArguments {
  std::string run, folder;
  std::uint64_t shard_bytes = 5'000'000'000;
  bool fp4 = false;
};
int export_command(const ExportArguments& args);

struct ImportArguments {
  std::string folder, run;
};
int import_command(const ImportArguments& args);

int report_command(const std::string& run);
int inspect_command(const std::string& path, bool json);
int verify_command(const std::string& path, bool json);
int parity_command(const std::vector<std::string>& cases, bool json);

struct ConfigArguments {
  std::string config;
  std::vector<std::string> overrides;
  bool json = false;
};
int config_show_command(const ConfigArguments& args);
int config_schema_command(bool json, bool markdown);
int config_diff_command(const std::string& a, const std::string& b, bool json);

struct CostArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::vector<std::int64_t> contexts;
  bool json = false;
};
int cost_command(const CostArguments& args);

struct BenchArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::int64_t steps = 5, warmup = 2;
  bool json = false;
};
int bench_step_command(const BenchArguments& args);
int bench_peak_command(bool json);

struct BenchDecodeArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::int64_t context = 65536, tokens = 32;
  bool dense = true, json = false;
};
int bench_decode_command(const BenchDecodeArguments& args);

}  // namespace shoal

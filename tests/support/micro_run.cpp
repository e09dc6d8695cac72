#include "tests/support/micro_run.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "autograd/base/rng.h"
#include "train/checkpoint/posix_io.h"
#include "train/checkpoint/store.h"
#include "train/metrics/fields.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfig =
    "run: {name: micro, seed: 3}\n"
    "model:\n"
    "  hidden_size: 32\n"
    "  layer_types: [sliding_attention, sliding_attention]\n"
    "  mlp_layer_types: [hash_moe, moe]\n"
    "  max_position_embeddings: 64\n"
    "  num_attention_heads: 2\n"
    "  head_dim: 16\n"
    "  qk_rope_head_dim: 8\n"
    "  q_lora_rank: 16\n"
    "  o_groups: 2\n"
    "  o_lora_rank: 16\n"
    "  sliding_window: 8\n"
    "  hc_mult: 2\n"
    "  hc_sinkhorn_iters: 4\n"
    "  n_routed_experts: 4\n"
    "  num_experts_per_tok: 2\n"
    "  moe_intermediate_size: 16\n"
    "data: {train: [CORPUS], validation: 0.165, sequence_length: 32}\n"
    "train: {steps: 24, batch_tokens: 192, micro_batch: 2, eval_every: 7,\n"
    "        sample_prompts: ['the '], sample_tokens: 4}\n"
    "optim: {lr: 4e-3, end_lr: 4e-4, warmup_steps: 6, decay_share: 0.3}\n"
    "checkpoint: {every_steps: 5, keep: 3}\n"
    "log: {every: 3}\n";

// 40 documents of 6 to 20 words.
std::string corpus() {
  constexpr std::array kWords = {"the",    "king", "said",  "unto", "them", "and",
                                 "behold", "a",    "light", "of",   "day"};
  const Rng rng(7, Purpose::kBench);
  std::string text;
  std::uint64_t draw = 0;
  for (int document = 0; document < 40; ++document) {
    if (document > 0) text += "\n\n";
    const std::uint64_t words = 6 + rng.below(draw++, 15);
    for (std::uint64_t w = 0; w < words; ++w) {
      if (w > 0) text += ' ';
      text += kWords[rng.below(draw++, kWords.size())];
    }
  }
  return text + '\n';
}

bool is_of_a_clock(const std::string& key) {
  return key == "time" || key.ends_with("_seconds") || key.ends_with("_per_second") ||
         key.ends_with("_share");
}

}  // namespace

MicroRun::MicroRun() {
  std::string config = kConfig;
  const std::string place = "CORPUS";
  config.replace(config.find(place), place.size(), folder_.write("corpus.txt", corpus()));
  folder_.write("micro.yaml", config);
}

MicroRun::~MicroRun() {
  for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
    if (entry.path().filename() != "metrics.jsonl" || !entry.is_regular_file()) continue;
    std::ifstream in(entry.path());
    std::string line;
    while (std::getline(in, line)) {
      const auto object = parse_line(line);
      if (!object) continue;
      EXPECT_EQ(undocumented(*object), "") << entry.path() << ": " << line;
    }
  }
}

std::vector<std::string> MicroRun::train_arguments(
    const std::string& name, const std::vector<std::string>& overrides) const {
  std::vector<std::string> arguments = {"train", config(), "run.dir=" + (folder_ / name)};
  arguments.insert(arguments.end(), overrides.begin(), overrides.end());
  return arguments;
}

Ended MicroRun::train(const std::string& name, const std::vector<std::string>& overrides,
                      const ProgramOptions& options) const {
  return run_program(train_arguments(name, overrides), options);
}

void MicroRun::train_to_the_end(const std::string& name, const std::vector<std::string>& overrides,
                                const ProgramOptions& options) const {
  const Ended ended = train(name, overrides, options);
  ASSERT_EQ(ended.code, 0) << ended.err;
}

std::vector<std::string> lines_of(const std::string& run, const std::string& kind) {
  std::vector<std::string> lines;
  std::ifstream in(run + "/metrics.jsonl");
  std::string line;
  while (std::getline(in, line)) {
    const auto object = parse_line(line);
    if (object && object->at("kind") == kind) lines.push_back(line);
  }
  return lines;
}

std::vector<std::string> numbers_of(const std::string& run) {
  std::vector<std::string> lines;
  std::ifstream in(run + "/metrics.jsonl");
  std::string line;
  while (std::getline(in, line)) {
    const auto object = parse_line(line);
    if (!object) {
      lines.push_back("broken: " + line);
      continue;
    }
    if (object->at("kind") == "event") continue;
    Json kept = Json::object();
    for (const auto& [key, value] : object->items()) {
      if (!is_of_a_clock(key)) kept[key] = value;
    }
    lines.push_back(line_of(kept));
  }
  return lines;
}

std::int64_t last_step(const std::string& run) {
  const std::string text = bytes_of_file(run + "/metrics.jsonl");
  const std::string mark = "{\"kind\":\"step\",\"step\":";
  const std::size_t at = text.rfind(mark);
  return at == std::string::npos ? 0 : std::strtoll(text.c_str() + at + mark.size(), nullptr, 10);
}

std::map<std::string, std::string> state_of(const std::string& run_or_checkpoint) {
  PosixIo io;
  const CheckpointStore::Stored stored = read_stored(io, run_or_checkpoint);
  EXPECT_THAT(stored.report.warnings, testing::IsEmpty());
  std::map<std::string, std::string> state;
  for (const LoadedArray& array : stored.state.arrays) {
    std::string& bytes = state[array.path];
    bytes = concat(name_of(array.type), shape_text(array.shape));
    bytes.append(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size());
  }
  state["step"] = concat(stored.state.step, " ", stored.state.tokens);
  return state;
}

void expect_equal_runs(const std::string& run, const std::string& other, std::int64_t steps) {
  EXPECT_EQ(lines_of(run, "step").size(), static_cast<std::size_t>(steps)) << run;
  EXPECT_EQ(numbers_of(run), numbers_of(other)) << run << " and " << other;
  const auto mine = state_of(run), theirs = state_of(other);
  EXPECT_EQ(mine.at("step"), concat(steps, " ", steps * 192));
  std::string different;
  for (const auto& [path, bytes] : mine) {
    const auto same = theirs.find(path);
    if (same == theirs.end() || same->second != bytes) different += "  " + path + "\n";
  }
  EXPECT_EQ(different, "") << "in " << run << " and " << other;
  EXPECT_EQ(mine.size(), theirs.size());
}

std::vector<std::int64_t> checkpoints_of(const std::string& run) {
  std::vector<std::int64_t> steps;
  for (const std::string& path : everything_in(run + "/checkpoints")) {
    if (path.starts_with("step-") && path.find('/') == std::string::npos) {
      steps.push_back(std::strtoll(path.c_str() + 5, nullptr, 10));
    }
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::set<std::string> everything_in(const std::string& folder) {
  std::set<std::string> paths;
  if (!fs::exists(folder)) return paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    paths.insert(fs::relative(entry.path(), folder).string());
  }
  return paths;
}

std::string bytes_of_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

void flip_byte(const std::string& path, std::int64_t at) {
  std::string bytes = bytes_of_file(path);
  const auto place =
      static_cast<std::size_t>(at < 0 ? static_cast<std::int64_t>(bytes.size()) + at : at);
  ASSERT_LT(place, bytes.size()) << path;
  bytes[place] = static_cast<char>(bytes[place] ^ 0x20);
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace shoal

#include "train/config/cross_checks.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "train/config/batch_sizes.h"
#include "train/config/schema/values.h"

namespace shoal {
namespace {

constexpr std::int64_t kByteVocabulary = 258;
constexpr std::size_t kMaxName = 100;

class CrossChecker {
 public:
  CrossChecker(const Origins& origins, const Place& whole, Problems& problems)
      : origins_(origins), whole_(whole), problems_(problems) {}

  // The problem is said of the first of `keys`, at the place of the first that was given at all.
  template <class... Detail>
  void require(bool holds, std::initializer_list<const char*> keys, const Detail&... what) {
    if (holds || std::any_of(keys.begin(), keys.end(),
                             [&](const char* key) { return problems_.touches(key); })) {
      return;
    }
    Place place = whole_;
    for (const char* key : keys) {
      const auto origin = origins_.find(key);
      if (origin == origins_.end()) continue;
      place = origin->second;
      break;
    }
    problems_.add(place, *keys.begin(), concat(what...));
  }

 private:
  const Origins& origins_;
  const Place& whole_;
  Problems& problems_;
};

bool is_plain_name(const std::string& name) {
  const auto letter_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= kMaxName && letter_or_digit(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) {
           return letter_or_digit(c) || c == '.' || c == '_' || c == '-';
         });
}

// Of one entry of sizes_of(); `first` is what the keys outside of train.stages say.
void check_sizes(const RunConfig& c, const BatchSizes& sizes, bool first, CrossChecker& check) {
  const std::int64_t T = sizes.sequence_length, tokens = sizes.batch_tokens;
  using Keys = std::initializer_list<const char*>;
  const auto require = [&](bool holds, Keys keys, const auto&... what) {
    if (first) return check.require(holds, keys, what...);
    check.require(holds, {"train.stages"}, "from step ", sizes.from_step, ": ",
                  *keys.begin() + std::string_view(*keys.begin()).find('.') + 1, " ", what...);
  };
  require(T >= 2, {"data.sequence_length"}, T, " is too short to learn from; use 2 or more");
  require(T <= c.model.max_position_embeddings,
          {"data.sequence_length", "model.max_position_embeddings"}, T,
          " is longer than model.max_position_embeddings ", c.model.max_position_embeddings,
          "; shorten the sequences or raise that key");
  require(tokens % T == 0, {"train.batch_tokens", "data.sequence_length"}, tokens,
          " is not a multiple of data.sequence_length ", T, "; use ",
          std::max<std::int64_t>(1, tokens / T) * T);
  if (tokens % T != 0) return;
  const std::int64_t sequences = sizes.sequences();
  std::int64_t fitting = std::min(sizes.micro_batch, sequences);
  while (sequences % fitting != 0) --fitting;
  require(sequences % sizes.micro_batch == 0,
          {"train.micro_batch", "train.batch_tokens", "data.sequence_length"}, sizes.micro_batch,
          " does not divide the ", sequences, " sequences of a step (", tokens, " tokens of ", T,
          "); use ", fitting);
}

// The task of a list of corpora, or null.
const TaskConfig* task_of(const std::vector<CorpusSpec>& corpora) {
  return !corpora.empty() && corpora.front().task ? &*corpora.front().task : nullptr;
}

void check_task(const RunConfig& c, const char* key, const TaskConfig& task, std::int64_t T,
                CrossChecker& check) {
  for (const TaskProblem& problem : find_problems(task, T)) {
    check.require(false, {key, "data.sequence_length"}, name_of(task.kind), ": ", problem.key, ": ",
                  problem.what);
  }
  check.require(c.data.tokenizer == "bytes", {"data.tokenizer", key}, "task ", name_of(task.kind),
                " is made of bytes; use bytes");
}

void check_tasks(const RunConfig& c, const BatchSizes& sizes, CrossChecker& check) {
  const std::int64_t T = sizes.sequence_length;
  const TaskConfig* train = task_of(c.data.train);
  const TaskConfig* validation = task_of(c.data.validation_files);
  if (train != nullptr) check_task(c, "data.train", *train, T, check);
  if (validation != nullptr) check_task(c, "data.validation", *validation, T, check);
  check.require(c.data.train.empty() || c.data.validation_files.empty() ||
                    (train == nullptr) == (validation == nullptr),
                {"data.validation"}, "text cannot validate a task, nor a task text; use ",
                train == nullptr ? "text" : "a task, or a share above 0");
}

void check_tokenizer(const RunConfig& c, CrossChecker& check) {
  if (c.data.tokenizer != "bytes") return;
  for (const std::string& prompt : c.train.sample_prompts) {
    const auto tokens = static_cast<std::int64_t>(prompt.size()) + 1;  // and bos
    check.require(tokens <= c.model.max_position_embeddings,
                  {"train.sample_prompts", "model.max_position_embeddings"}, "a prompt of ", tokens,
                  " tokens is longer than model.max_position_embeddings ",
                  c.model.max_position_embeddings, "; shorten it or raise that key");
  }
  check.require(c.model.vocab_size >= kByteVocabulary, {"model.vocab_size", "data.tokenizer"},
                c.model.vocab_size, " is too small for data.tokenizer bytes; use ",
                kByteVocabulary);
  check.require(c.model.bos_token_id == 0, {"model.bos_token_id", "data.tokenizer"},
                c.model.bos_token_id, " is a byte to data.tokenizer bytes; use 0");
  check.require(c.model.eos_token_id == 1, {"model.eos_token_id", "data.tokenizer"},
                c.model.eos_token_id, " is not the end to data.tokenizer bytes; use 1");
}

void check_stability(const RunConfig& c, std::int64_t steps, CrossChecker& check) {
  const SpikeConfig& spike = c.stability.spike;
  check.require(spike.onset <= spike.threshold,
                {"stability.spike.onset", "stability.spike.threshold"}, number_text(spike.onset),
                " is above stability.spike.threshold ", number_text(spike.threshold),
                ": a spike would have no onset; use at most that");
  check.require(
      !c.stability.rolls_back() || spike.max_rollbacks > 0,
      {"stability.spike.max_rollbacks", "stability.spike.action", "stability.on_bad_numbers"},
      "0 contradicts a rollback; use 1 or more, or another action");
  for (const FaultSpec& fault : c.stability.provoke) {
    const std::int64_t last = fault.at_step + fault.steps - 1;
    check.require(steps == 0 || last <= steps, {"stability.provoke", "train.steps"},
                  name_of(fault.kind), " at step ", last, " is never reached: the run ends after ",
                  steps, " steps; use at most ", steps);
    const auto& layers = c.model.mlp_layer_types;
    check.require(
        fault.kind != FaultKind::kExpertShock ||
            std::any_of(layers.begin(), layers.end(),
                        [](FeedForwardKind kind) { return kind != FeedForwardKind::kDense; }),
        {"stability.provoke", "model.mlp_layer_types"},
        "expert_shock: no layer of the model has experts; use another kind");
  }
  const AnticipatoryConfig& routing = c.stability.anticipatory;
  check.require(routing.mode == AnticipatoryMode::kOff || steps == 0 || routing.lag < steps,
                {"stability.anticipatory.lag", "train.steps", "train.tokens"}, routing.lag,
                " is never reached: the run ends after ", steps, " steps; use at most ", steps - 1);
  check.require(routing.mode != AnticipatoryMode::kOnSpike || c.stability.rolls_back(),
                {"stability.anticipatory.mode", "stability.spike.action"},
                "on_spike begins after a rollback, and nothing rolls back here; set "
                "stability.spike.action=rollback, or use always");
}

}  // namespace

void check_run(RunConfig& config, const Origins& origins, const Place& whole, bool needs_data,
               Problems& problems) {
  // Keys that were refused keep their defaults: what others would be with them means nothing.
  const bool refused = problems.touches("model");
  std::vector<std::pair<std::string, std::string>> found;
  for (const ModelProblem& problem : config.model.complete()) {
    const std::string key = "model." + problem.key;
    const bool known = problems.doubts(key) || problems.doubts("model." + problem.other);
    const bool of_all = refused && problem.other == kAllKeys;
    if (!known && !of_all) found.emplace_back(key, problem.what);
  }
  for (const auto& [key, what] : found) {
    const auto origin = origins.find(key);
    problems.add(origin == origins.end() ? whole : origin->second, key, what);
  }
  CrossChecker check(origins, whole, problems);
  check.require(is_plain_name(config.run.name), {"run.name"}, "'", excerpt(config.run.name),
                "' is no plain name; use up to ", kMaxName,
                " letters, digits, '.', '_' and '-', a letter or digit first");
  if (config.run.dir.empty()) config.run.dir = absolute_path("runs/" + config.run.name);
  const std::vector<BatchSizes> all = sizes_of(config);
  const std::vector<SizesSpec>& given = config.train.stages;
  for (const BatchSizes& sizes : all) {
    const bool first = sizes.from_step == 0 && (given.empty() || given.front().from_step > 0);
    check_sizes(config, sizes, first, check);
  }
  check_tokenizer(config, check);
  for (const BatchSizes& sizes : all) check_tasks(config, sizes, check);
  check.require(config.optim.end_lr <= config.optim.lr, {"optim.end_lr", "optim.lr"},
                number_text(config.optim.end_lr), " is above optim.lr ",
                number_text(config.optim.lr), "; use at most that");
  if (!needs_data) return;
  const auto trains = [&](Quantization kind, const char* key) {
    check.require(kind != Quantization::kPtq, {key},
                  "ptq rounds in evaluation and generation alone; train with off, then `shoal eval "
                  "RUN ",
                  key, "=ptq`");
  };
  trains(config.model.fp4.experts, "model.fp4.experts");
  trains(config.model.fp4.indexer, "model.fp4.indexer");
  trains(config.model.fp8_kv, "model.fp8.kv");
  check.require(!config.data.train.empty(), {"data.train"},
                "no text to train on; name files or folders, such as [corpora/kjv.txt]");
  check.require(config.train.steps > 0 || config.train.tokens > 0 || config.train.minutes > 0,
                {"train.steps", "train.tokens", "train.minutes"},
                "the run has no end; set train.steps, train.tokens or train.minutes");
  const std::int64_t steps = planned_steps(config);
  check.require(steps == 0 || all.back().from_step < steps, {"train.stages"}, "from_step ",
                all.back().from_step, " is never reached: the run ends after ", steps,
                " steps; use at most ", steps - 1);
  check_stability(config, steps, check);
}

}  // namespace shoal

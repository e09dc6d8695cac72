#include "train/config/schema/schema.h"

#include <algorithm>

#include "train/config/schema/fault_keys.h"
#include "train/config/schema/key_makers.h"
#include "train/config/schema/size_keys.h"
#include "train/config/schema/task_keys.h"

namespace shoal {

namespace {

using namespace key_makers;

nlohmann::json corpora_json(const std::vector<CorpusSpec>& corpora) {
  nlohmann::json list = nlohmann::json::array();
  for (const CorpusSpec& corpus : corpora) {
    if (corpus.task) {
      list.push_back(task_json(*corpus.task));
    } else if (corpus.weight == 1.0) {
      list.push_back(corpus.path);
    } else {
      list.push_back({{"path", corpus.path}, {"weight", corpus.weight}});
    }
  }
  return list;
}

// Tasks whole, but where their haystack lies; of texts the weights, where they count.
nlohmann::json numbers_of(const std::vector<CorpusSpec>& corpora) {
  nlohmann::json weights = nlohmann::json::array();
  bool weighted = false;
  for (const CorpusSpec& corpus : corpora) {
    if (corpus.task) {
      nlohmann::json task = task_json(*corpus.task);
      if (task.contains("haystack")) task["haystack"] = "";
      return task;
    }
    weights.push_back(corpus.weight);
    weighted |= corpus.weight != 1.0;
  }
  return weighted ? weights : nlohmann::json("texts");
}

Key corpora_key() {
  Key key{.path = "data.train",
          .form = Form::kCorpora,
          .help =
              "what to train on: text, .jsonl with \"text\", .tokens, or folders of them; with "
              "weights ({path: a.txt, weight: 2}) that many parts of the training sequences come "
              "from each, whatever their sizes; without, each sequence comes once an epoch; or one "
              "synthetic task; required to train"};
  key.read = [](const Node& node, RunConfig& c, Problems& problems) {
    if (auto value = read_corpora(node, "data.train", problems)) c.data.train = std::move(*value);
  };
  key.value = [](const RunConfig& c) { return corpora_json(c.data.train); };
  key.numbers = [](const RunConfig& c) { return numbers_of(c.data.train); };
  return key;
}

Key validation_key() {
  Key key{.path = "data.validation",
          .form = Form::kValidation,
          .range = kBelowOne,
          .help =
              "share of the documents that is held out, about: the hash of each decides, whatever "
              "else there is; or a list like data.train, without weights"};
  key.read = [](const Node& node, RunConfig& c, Problems& problems) {
    if (node.kind != Node::Kind::kList) {
      const auto share = read_number(node, "data.validation", kBelowOne, problems);
      if (share) c.data.validation_share = *share;
      if (share) c.data.validation_files.clear();
      return;
    }
    if (node.items.empty()) {
      problems.add(node.place, "data.validation",
                   "an empty list; name files, or give a share such as 0.05");
      return;
    }
    if (auto files = read_corpora(node, "data.validation", problems)) {
      for (std::size_t i = 0; i < files->size(); ++i) {
        if ((*files)[i].weight == 1.0) continue;
        problems.add(node.items[i].place, "data.validation",
                     "a weight means nothing here: all of it is evaluated; give the path alone");
        return;
      }
      c.data.validation_files = std::move(*files);
      c.data.validation_share = 0.0;
    }
  };
  key.numbers = [](const RunConfig& c) { return nlohmann::json(c.data.validation_share); };
  key.value = [](const RunConfig& c) {
    return c.data.validation_files.empty() ? nlohmann::json(c.data.validation_share)
                                           : corpora_json(c.data.validation_files);
  };
  return key;
}

Key seed_key() {
  Key key{.path = "run.seed",
          .form = Form::kInteger,
          .range = {.low = 0, .high = 18446744073709551615.0},
          .help = "of everything random: initial weights, order of the data"};
  key.read = [](const Node& node, RunConfig& c, Problems& problems) {
    if (const auto value = read_seed(node, "run.seed", problems)) c.run.seed = *value;
  };
  key.value = [](const RunConfig& c) { return nlohmann::json(c.run.seed); };
  return key;
}

std::vector<Key> run_keys() {
  return {
      harmless(text("run.name", SHOAL_FIELD(run.name),
                    "letters, digits, '.', '_', '-'; names the run in reports")),
      harmless(
          path_or("run.dir", "", SHOAL_FIELD(run.dir), "folder of the run; by default runs/NAME")),
      seed_key(),
  };
}

std::vector<Key> data_keys() {
  return {
      path_or("data.tokenizer", "bytes", SHOAL_FIELD(data.tokenizer),
              "bytes: bos 0, eos 1, byte b is 2 + b; there is no other yet"),
      corpora_key(),
      validation_key(),
      integer("data.sequence_length", SHOAL_FIELD(data.sequence_length), kSize, "tokens",
              "of one training sequence; longer documents are cut, short ones packed"),
  };
}

Key batch_stages_key() {
  Key key{
      .path = "train.stages",
      .form = Form::kBatchStages,
      .help =
          "other sizes from a step on (the number of updates done before it), such as "
          "{from_step: 400, sequence_length: 2048, batch_tokens: 8192, micro_batch: 1}; what is "
          "left out stays as it was"};
  key.read = [](const Node& node, RunConfig& c, Problems& problems) {
    if (auto stages = read_sizes(node, "train.stages", problems)) {
      c.train.stages = std::move(*stages);
    }
  };
  key.value = [](const RunConfig& c) { return sizes_json(c.train.stages); };
  return key;
}

std::vector<Key> train_keys() {
  return {
      integer("train.steps", SHOAL_FIELD(train.steps), kSizeOrZero, "steps",
              "ends the run; 0: no such limit"),
      number("train.tokens", SHOAL_FIELD(train.tokens), kNotNegative, "tokens",
             "ends the run; 0: no such limit"),
      harmless(number("train.minutes", SHOAL_FIELD(train.minutes), kNotNegative, "minutes",
                      "ends the run; 0: no such limit; alone, the rate never decays")),
      integer("train.batch_tokens", SHOAL_FIELD(train.batch_tokens), kSize, "tokens",
              "of one step; a multiple of data.sequence_length"),
      integer("train.micro_batch", SHOAL_FIELD(train.micro_batch), kSize, "sequences",
              "in one forward pass; divides the step's sequences"),
      batch_stages_key(),
      harmless(integer("train.eval_every", SHOAL_FIELD(train.eval_every), kSizeOrZero, "steps",
                       "between validations; 0: only at the end")),
      harmless(integer("train.eval_sequences", SHOAL_FIELD(train.eval_sequences), kSizeOrZero,
                       "sequences", "of a validation; 0: all of them")),
      harmless(choice("train.recompute", SHOAL_FIELD(train.recompute),
                      "block: keep only each block's input and run it again in the backward pass; "
                      "less memory, more time, the same bits")),
      path_or("train.init_from", "", SHOAL_FIELD(train.init_from),
              "run, checkpoint or model folder whose weights to start from; by default none"),
      harmless(texts(
          "train.sample_prompts", [](RunConfig & c) -> auto& { return c.train.sample_prompts; },
          "texts to continue at every validation")),
      harmless(integer("train.sample_tokens", SHOAL_FIELD(train.sample_tokens), kSizeOrZero,
                       "tokens", "of each sample")),
  };
}

std::vector<Key> loss_keys() {
  return {
      number("loss.mtp", SHOAL_FIELD(loss.mtp), kNotNegative, "",
             "weight of predicting the token after next"),
      number("loss.mtp_late", SHOAL_FIELD(loss.mtp_late), kNotNegative, "",
             "the same, from the start of the rate's decay"),
      number("loss.balance", SHOAL_FIELD(loss.balance), kNotNegative, "",
             "weight of the experts' sequence balance"),
      number("loss.index_kl", SHOAL_FIELD(loss.index_kl), kNotNegative, "",
             "weight of the indexers' own loss, which moves only them; 0: they do not learn"),
  };
}

// One stage for the whole run, or a list of {stage, from_step}.
Key indexer_key() {
  static const char* const kPath = "indexer.stage";
  Key key{.path = kPath,
          .form = Form::kStages,
          .choices = names_of_all<IndexerMode>(),
          .help =
              "CSA layers look at all entries (dense), at all while the indexers alone learn "
              "(warmup), or at those that the indexers choose (sparse); or a list of {stage, "
              "from_step}"};
  key.read = [](const Node& node, RunConfig& c, Problems& problems) {
    if (node.kind != Node::Kind::kList) {
      if (const auto mode = read_enum<IndexerMode>(node, kPath, problems)) {
        c.indexer.modes = {{*mode, 0}};
      }
      return;
    }
    std::vector<IndexerSpec> modes;
    for (const Node& item : node.items) {
      const Node* stage = item.find("stage");
      const Node* from = item.find("from_step");
      for (const Node::Key& given : item.keys) {
        if (given.text == "stage" || given.text == "from_step") continue;
        problems.add(given.place, kPath,
                     concat("unknown key '", excerpt(given.text), "'; use stage and from_step"));
      }
      if (stage == nullptr || (from == nullptr && !modes.empty())) {
        problems.add(item.place, kPath,
                     "an entry needs stage and from_step, such as {stage: sparse, from_step: 100}");
        return;
      }
      const auto value = read_enum<IndexerMode>(*stage, kPath, problems);
      const auto step = from == nullptr ? 0 : read_integer(*from, kPath, kSizeOrZero, problems);
      if (!value || !step) return;
      if (*step != 0 && modes.empty()) {
        problems.add(from->place, kPath, "the first stage begins at step 0");
        return;
      }
      if (!modes.empty() && *step <= modes.back().from_step) {
        problems.add(from->place, kPath, "stages need rising from_step");
        return;
      }
      modes.push_back({*value, *step});
    }
    if (modes.empty()) {
      problems.add(node.place, kPath, "an empty list; name a stage");
      return;
    }
    c.indexer.modes = std::move(modes);
  };
  key.value = [](const RunConfig& c) -> nlohmann::json {
    const auto& modes = c.indexer.modes;
    if (modes.size() == 1) return name_of(modes.front().mode);
    nlohmann::json list = nlohmann::json::array();
    for (const IndexerSpec& s : modes) {
      list.push_back({{"stage", name_of(s.mode)}, {"from_step", s.from_step}});
    }
    return list;
  };
  return key;
}

std::vector<Key> optim_keys() {
  return {
      number("optim.lr", SHOAL_FIELD(optim.lr), kPositive, "", "peak learning rate"),
      number("optim.end_lr", SHOAL_FIELD(optim.end_lr), kNotNegative, "",
             "learning rate at the end of the decay"),
      integer("optim.warmup_steps", SHOAL_FIELD(optim.warmup_steps), kSizeOrZero, "steps",
              "of linear rise to lr"),
      number("optim.decay_share", SHOAL_FIELD(optim.decay_share), kShare, "",
             "last share of the run, a cosine from lr to end_lr; constant in between"),
      number("optim.clip", SHOAL_FIELD(optim.clip), kNotNegative, "",
             "largest norm of the gradient; 0: no clipping"),
      number("optim.weight_decay", SHOAL_FIELD(optim.weight_decay), kNotNegative, "",
             "decoupled; times the rate"),
      number("optim.beta1", SHOAL_FIELD(optim.beta1), kDecay, "",
             "AdamW: decay of the first moment"),
      number("optim.beta2", SHOAL_FIELD(optim.beta2), kDecay, "",
             "AdamW: decay of the second moment"),
      number("optim.eps", SHOAL_FIELD(optim.eps), kPositive, "", "AdamW: added to the root"),
      number("optim.momentum", SHOAL_FIELD(optim.momentum), kDecay, "", "Muon: of the gradient"),
      number("optim.update_rms", SHOAL_FIELD(optim.update_rms), kPositive, "",
             "Muon: RMS of an update at rate 1"),
      choice("optim.matrices", SHOAL_FIELD(optim.matrices),
             "optimizer of the matrices; embedding, head, norms, sinks and scalars take AdamW"),
  };
}

Key provoke_key() {
  Key key{.path = "stability.provoke",
          .form = Form::kFaults,
          .help =
              "faults for experiments, each once, from the update at_step on: lr_pulse (the rate "
              "times factor, for so many steps), bad_batch (shuffled targets, likewise), "
              "expert_shock (after that update, one expert's weights times factor); by default "
              "steps 1, factor 10"};
  key.read = [](const Node& node, RunConfig& c, Problems& problems) {
    if (auto faults = read_faults(node, "stability.provoke", problems)) {
      c.stability.provoke = std::move(*faults);
    }
  };
  key.value = [](const RunConfig& c) { return faults_json(c.stability.provoke); };
  return key;
}

// A run that nothing happens to has the same numbers with any of these.
std::vector<Key> spike_keys() {
  return {
      harmless(
          choice("stability.spike.action", SHOAL_FIELD(stability.spike.action),
                 "what a spike of the loss or the gradient norm leads to: an event, the update "
                 "left out, or a return to a state before it")),
      harmless(number("stability.spike.threshold", SHOAL_FIELD(stability.spike.threshold),
                      kPositive, "standard deviations", "above the prediction: a spike")),
      harmless(number("stability.spike.onset", SHOAL_FIELD(stability.spike.onset), kPositive,
                      "standard deviations",
                      "above it: suspect; a spike began where the steps before it became so")),
      harmless(integer("stability.spike.warmup", SHOAL_FIELD(stability.spike.warmup),
                       {.low = 2, .high = static_cast<double>(kMaxSize)}, "steps",
                       "that the detector learns from before it may say anything")),
      harmless(integer("stability.spike.lookback", SHOAL_FIELD(stability.spike.lookback),
                       {.low = 1, .high = 100000}, "steps", "that the onset is looked for in")),
      harmless(integer("stability.spike.cooldown", SHOAL_FIELD(stability.spike.cooldown),
                       kSizeOrZero, "steps",
                       "after a spike without another report or skip; a rollback takes it back")),
      harmless(integer("stability.spike.snapshot_every",
                       SHOAL_FIELD(stability.spike.snapshot_every), kSize, "steps",
                       "between the states that a rollback can go back to")),
      harmless(integer("stability.spike.max_rollbacks", SHOAL_FIELD(stability.spike.max_rollbacks),
                       kSizeOrZero, "", "of a run; the next spike ends it")),
  };
}

std::vector<Key> stability_keys() {
  std::vector<Key> keys = {
      harmless(
          choice("stability.on_bad_numbers", SHOAL_FIELD(stability.on_bad_numbers),
                 "a loss or gradient is not finite: stop the run, skip the step, or go back as "
                 "after a spike; where it is stop, stability.spike.action skip or rollback "
                 "holds for these as well")),
      number("stability.router_bias_speed", SHOAL_FIELD(stability.router_bias_speed), kNotNegative,
             "", "step of the router biases that balance the experts' load"),
      choice(
          "stability.anticipatory.mode", SHOAL_FIELD(stability.anticipatory.mode),
          "anticipatory routing: experts are chosen by the parameters of lag steps ago; on_spike: "
          "for some steps after a rollback"),
      integer("stability.anticipatory.lag", SHOAL_FIELD(stability.anticipatory.lag), kLag, "steps",
              "between the choice and its use; 0: normal training"),
      integer("stability.anticipatory.steps", SHOAL_FIELD(stability.anticipatory.steps), kSize,
              "steps", "that on_spike lasts"),
      choice("stability.anticipatory.drain", SHOAL_FIELD(stability.anticipatory.drain),
             "how on_spike ends: fresh routes batches beyond its steps as ever, replay first uses "
             "up the lag's choices"),
  };
  for (Key& key : spike_keys()) keys.push_back(std::move(key));
  keys.push_back(provoke_key());
  return keys;
}

std::vector<Key> other_keys() {
  return {
      harmless(integer("checkpoint.every_steps", SHOAL_FIELD(checkpoint.every_steps), kSizeOrZero,
                       "steps", "between checkpoints; 0: only at the end")),
      harmless(integer("checkpoint.keep", SHOAL_FIELD(checkpoint.keep), kSize, "checkpoints",
                       "the newest that stay on disk")),
      harmless(integer(
          "checkpoint.step", SHOAL_FIELD(checkpoint.step), kSizeOrZero, "",
          "resume from this checkpoint, giving up later ones; 0: the newest that verifies")),
      harmless(integer("log.every", SHOAL_FIELD(log.every), kSize, "steps",
                       "between lines on the console; files get every step")),
      harmless(boolean("log.tensorboard", SHOAL_FIELD(log.tensorboard),
                       "also write TensorBoard event files")),
  };
}

}  // namespace

const std::vector<Key>& schema() {
  static const std::vector<Key> kKeys = [] {
    std::vector<Key> all;
    for (const auto& section :
         {run_keys(), model_keys(), data_keys(), train_keys(), loss_keys(),
          std::vector<Key>{indexer_key()}, optim_keys(), stability_keys(), other_keys()}) {
      all.insert(all.end(), section.begin(), section.end());
    }
    return all;
  }();
  return kKeys;
}

const Key* find_key(const std::string& path) {
  for (const Key& key : schema()) {
    if (key.path == path) return &key;
  }
  return nullptr;
}

bool is_section(const std::string& path) {
  return std::any_of(schema().begin(), schema().end(), [&](const Key& key) {
    return key.path.size() > path.size() && key.path.compare(0, path.size(), path) == 0 &&
           key.path[path.size()] == '.';
  });
}

std::vector<std::string> names_inside(const std::string& section) {
  const std::string prefix = section.empty() ? "" : section + ".";
  std::vector<std::string> names;
  const auto add = [&](const std::string& path) {
    if (path.size() <= prefix.size() || path.compare(0, prefix.size(), prefix) != 0) return;
    const std::string rest = path.substr(prefix.size());
    const std::string name = rest.substr(0, rest.find('.'));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  for (const Key& key : schema()) {
    add(key.path);
    if (!key.alias.empty()) add(key.alias);
  }
  if (section.empty()) names.emplace_back("extends");
  return names;
}

}  // namespace shoal

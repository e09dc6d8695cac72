#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/base/check.h"
#include "data/dataset.h"
#include "data/split.h"
#include "data/text_source.h"
#include "data/tokenizer/bytes.h"

namespace shoal {
namespace {

// Otherwise all corpora are one.
bool is_weighted(const DataConfig& config) {
  return std::any_of(config.train.begin(), config.train.end(),
                     [](const CorpusPath& corpus) { return corpus.weight != 1.0; });
}

// The task of a list, or null; it cannot share the list with anything.
const TaskConfig* task_of(const std::vector<CorpusPath>& corpora, const char* key) {
  for (const CorpusPath& corpus : corpora) {
    if (!corpus.task) continue;
    if (corpora.size() > 1 || corpus.weight != 1.0) {
      reject(Failure::kUsage, key, ": a task cannot be mixed with other data; let it stand alone");
    }
    return &*corpus.task;
  }
  return nullptr;
}

void check_config(const DataConfig& config) {
  if (config.train.empty()) {
    reject(Failure::kUsage, "data.train: names no corpus; give it a list of files or folders");
  }
  if (config.sequence_length < 1 || config.sequence_length > INT32_MAX) {
    reject(Failure::kUsage, "data.sequence_length: is ", config.sequence_length,
           "; it has to be at least 1");
  }
  if (!(config.validation_share >= 0.0 && config.validation_share < 1.0)) {
    reject(Failure::kUsage, "data.validation: is ", config.validation_share,
           "; a share of documents is from 0 to below 1");
  }
  double total = 0.0;
  for (const CorpusPath& corpus : config.train) {
    if (!std::isfinite(corpus.weight) || corpus.weight <= 0.0) {
      reject(Failure::kUsage, "data.train: the weight of ", corpus.path, " is ", corpus.weight,
             "; weights are above 0");
    }
    total += corpus.weight;
  }
  if (!is_weighted(config)) return;
  // A unit of the sampler's rounding above its limit.
  const double least = (1.0 + 1e-3) / static_cast<double>(Sampler::kBlock);
  for (const CorpusPath& corpus : config.train) {
    if (corpus.weight / total < least) {
      reject(Failure::kUsage, "data.train: the weight ", corpus.weight, " of ", corpus.path,
             " is a share of ", corpus.weight / total, "; the smallest possible share is ", least);
    }
  }
}

// Documents first .. end-1 that are in the sorted list `of`.
std::vector<std::int64_t> between(const std::vector<std::int64_t>& of, std::int64_t first,
                                  std::int64_t end) {
  return {std::lower_bound(of.begin(), of.end(), first),
          std::lower_bound(of.begin(), of.end(), end)};
}

// The held-out episodes are the same whatever the seed, like held-out documents.
DataSplit load_tasks(const DataConfig& config, const TaskConfig& task, const TaskConfig* held_out,
                     const Tokenizer& tokenizer) {
  if (tokenizer.fingerprint() != ByteTokenizer().fingerprint()) {
    reject(Failure::kUsage, "data.tokenizer: a task needs bytes");
  }
  const std::int64_t T = config.sequence_length;
  if (held_out == nullptr && config.validation_share > 0.0) held_out = &task;
  return {Dataset(task, T, config.seed, false),
          held_out != nullptr
              ? Dataset(*held_out, T, 0, true)
              : Dataset(std::make_shared<Documents>(), {}, tokenizer, T, config.seed),
          {}};
}

}  // namespace

DataSplit load_data(const DataConfig& config, const Tokenizer& tokenizer) {
  check_config(config);
  const TaskConfig* const task = task_of(config.train, "data.train");
  const TaskConfig* const held_out = task_of(config.validation_files, "data.validation");
  if (!config.validation_files.empty() && (task == nullptr) != (held_out == nullptr)) {
    reject(Failure::kUsage, "data.validation: a task validates a task and text validates text");
  }
  if (task != nullptr) return load_tasks(config, *task, held_out, tokenizer);
  const auto documents = std::make_shared<Documents>();
  std::vector<std::int64_t> first{0};  // document of each training corpus
  for (const CorpusPath& corpus : config.train) {
    read_documents(corpus.path, tokenizer, *documents);
    first.push_back(documents->count());
  }
  Split split = hold_out(*documents, tokenizer,
                         config.validation_files.empty() ? config.validation_share : 0.0);
  for (const CorpusPath& corpus : config.validation_files) {
    const std::int64_t begin = documents->count();
    read_documents(corpus.path, tokenizer, *documents);
    for (std::int64_t d = begin; d < documents->count(); ++d) split.validation.push_back(d);
  }

  std::vector<Dataset::Source> train, validation;
  if (is_weighted(config)) {
    for (std::size_t s = 0; s < config.train.size(); ++s) {
      const CorpusPath& corpus = config.train[s];
      train.push_back({between(split.train, first[s], first[s + 1]), corpus.weight});
      if (train.back().documents.empty()) {
        reject(Failure::kData, "data.validation: a share of ", config.validation_share,
               " leaves nothing of ", corpus.path, " (", first[s + 1] - first[s],
               " documents) to train on; lower the share or name validation files");
      }
    }
  } else {
    train.push_back({std::move(split.train), 1.0});
  }
  if (!split.validation.empty()) validation.push_back({std::move(split.validation), 1.0});

  const std::int64_t T = config.sequence_length;
  DataSplit data{Dataset(documents, train, tokenizer, T, config.seed),
                 Dataset(documents, validation, tokenizer, T, config.seed), documents->warnings};
  for (const Dataset* part : {&data.train, &data.validation}) {
    if (part->sequences() > 0 && part->text_bytes() == 0) {
      reject(Failure::kData, part == &data.train ? "data.train" : "data.validation",
             ": holds only empty documents");
    }
  }
  return data;
}

}  // namespace shoal

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/base/check.h"
#include "data/dataset.h"
#include "data/repeats.h"
#include "data/short_names.h"
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
  if (config.train.empty() && config.validation_files.empty()) {
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
  for (const CorpusPath& corpus : config.validation_files) {
    if (corpus.weight != 1.0) {
      reject(Failure::kUsage, "data.validation: ", corpus.path, " has a weight; all of it is ",
             "evaluated, so weights belong to data.train alone");
    }
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

// What one path of a list gave.
struct Read {
  std::string name;
  std::int64_t first = 0, end = 0;  // documents
};

std::vector<Read> read_all(const std::vector<CorpusPath>& corpora, const Tokenizer& tokenizer,
                           Documents& documents) {
  std::vector<std::string> paths;
  for (const CorpusPath& corpus : corpora) paths.push_back(corpus.path);
  const std::vector<std::string> names = short_names(paths);
  std::vector<Read> out;
  for (std::size_t s = 0; s < corpora.size(); ++s) {
    const std::int64_t first = documents.count();
    read_documents(paths[s], tokenizer, documents);
    out.push_back({names[s], first, documents.count()});
  }
  return out;
}

// Those of the sorted list `of` that `read` gave.
std::vector<std::int64_t> between(const std::vector<std::int64_t>& of, const Read& read) {
  return {std::lower_bound(of.begin(), of.end(), read.first),
          std::lower_bound(of.begin(), of.end(), read.end)};
}

std::string joined_names(const std::vector<Read>& reads) {
  constexpr std::size_t kShown = 3;
  std::string out;
  for (std::size_t s = 0; s < std::min(reads.size(), kShown); ++s) {
    out += (s > 0 ? ", " : "") + reads[s].name;
  }
  return reads.size() > kShown ? concat(out, " and ", reads.size() - kShown, " more") : out;
}

// A source of its own for each path, so that an evaluation can tell them apart; beyond a screenful
// of paths nobody wants to, and they are one.
std::vector<Dataset::Source> validation_sources(const Split& split,
                                                const std::vector<Read>& reads) {
  constexpr std::size_t kMost = 32;
  std::vector<Dataset::Source> sources;
  if (split.validation.empty()) return sources;
  if (reads.size() > kMost) return {{split.validation, 1.0, joined_names(reads)}};
  for (const Read& read : reads) {
    std::vector<std::int64_t> documents = between(split.validation, read);
    if (!documents.empty()) sources.push_back({std::move(documents), 1.0, read.name});
  }
  return sources;
}

std::vector<CorpusSize> sizes_of(const std::vector<Read>& reads, const Split& split,
                                 const Documents& documents, const Tokenizer& tokenizer) {
  std::vector<CorpusSize> sizes;
  if (reads.size() < 2) return sizes;
  for (const Read& read : reads) {
    CorpusSize size{read.name};
    for (const std::int64_t d : between(split.train, read)) {
      ++size.documents;
      for (const std::int32_t id : documents.document(d)) {
        size.text_bytes += tokenizer.text_bytes(id);
      }
    }
    sizes.push_back(std::move(size));
  }
  return sizes;
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
  if (config.train.empty() && held_out != nullptr) {
    return load_tasks(config, *held_out, held_out, tokenizer);
  }
  if (!config.train.empty() && !config.validation_files.empty() &&
      (task == nullptr) != (held_out == nullptr)) {
    reject(Failure::kUsage, "data.validation: a task validates a task and text validates text");
  }
  if (task != nullptr) return load_tasks(config, *task, held_out, tokenizer);
  const auto documents = std::make_shared<Documents>();
  const std::vector<Read> train_read = read_all(config.train, tokenizer, *documents);
  const std::int64_t count = documents->count();            // of data.train
  const std::size_t train_files = documents->files.size();  // likewise
  const std::vector<Read> validation_read =
      read_all(config.validation_files, tokenizer, *documents);
  const std::vector<std::uint64_t> hashes = hash_texts(*documents, tokenizer);
  const std::span of_train(hashes.data(), static_cast<std::size_t>(count));
  const double share = config.validation_files.empty() ? config.validation_share : 0.0;
  Split split = hold_out(of_train, share);
  for (std::int64_t d = count; d < documents->count(); ++d) split.validation.push_back(d);
  warn_of_copies(*documents, of_train, split, share);
  warn_of_files_read_twice(*documents, train_files);
  warn_of_overlap(*documents, hashes, count);

  const bool weighted = is_weighted(config);
  std::vector<Dataset::Source> train;
  if (weighted) {
    for (std::size_t s = 0; s < config.train.size(); ++s) {
      const Read& read = train_read[s];
      train.push_back({between(split.train, read), config.train[s].weight, read.name});
      if (train.back().documents.empty()) {
        reject(Failure::kData, "data.validation: a share of ", config.validation_share,
               " leaves nothing of ", config.train[s].path, " (", read.end - read.first,
               " documents) to train on; lower the share or name validation files");
      }
    }
  } else if (!split.train.empty()) {
    train.push_back({split.train, 1.0, joined_names(train_read)});
  }
  const std::vector<Dataset::Source> validation =
      validation_sources(split, config.validation_files.empty() ? train_read : validation_read);

  const std::int64_t T = config.sequence_length;
  DataSplit data{Dataset(documents, train, tokenizer, T, config.seed),
                 Dataset(documents, validation, tokenizer, T, config.seed), documents->warnings,
                 sizes_of(train_read, split, *documents, tokenizer)};
  for (const Dataset* part : {&data.train, &data.validation}) {
    if (part->sequences() > 0 && part->text_bytes() == 0) {
      reject(Failure::kData, part == &data.train ? "data.train" : "data.validation",
             ": holds only empty documents");
    }
  }
  return data;
}

}  // namespace shoal

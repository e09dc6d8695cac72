#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/documents.h"
#include "data/packing.h"
#include "data/sampler.h"
#include "data/synthetic/episodes.h"

namespace shoal {

struct CorpusPath {
  std::string path;  // see read_documents()
  double weight = 1.0;
  std::optional<TaskConfig> task = {};  // instead of a path; stands alone in its list
};

struct DataConfig {
  std::vector<CorpusPath> train;  // may be empty where validation files are named
  // Of the documents; 0: no validation. Of a task: above 0, the held-out episodes of the same one.
  double validation_share = 0.05;
  std::vector<CorpusPath> validation_files;  // instead of a share; all of weight 1
  std::int64_t sequence_length = 512;
  std::uint64_t seed = 1;  // of the order, not of the split
};

// Documents packed into sequences of T rows, to train on or to evaluate on; or the episodes of a
// task, one a sequence.
//
// When every weight is 1, all corpora are one source whose epoch is each sequence once; otherwise
// each corpus is a source of its own and appears with its share of the weights.
class Dataset {
 public:
  struct Source {
    std::vector<std::int64_t> documents;
    double weight = 1.0;
    std::string name = {};  // in reports
  };
  // Every source has to have a document. No sources at all: an empty data set.
  Dataset(std::shared_ptr<const Documents> documents, const std::vector<Source>& sources,
          const Tokenizer& tokenizer, std::int64_t T, std::uint64_t seed);
  // Training sample g is episode g; in order there are task.episodes of them.
  Dataset(const TaskConfig& task, std::int64_t T, std::uint64_t seed, bool held_out);

  // The same data in sequences of another length; sample g then is another one.
  Dataset with_length(std::int64_t T) const;

  // Null for documents.
  const TaskConfig* task() const { return episodes_ ? &episodes_->task() : nullptr; }
  std::int64_t sequence_length() const { return T_; }
  std::int64_t sequences() const { return sequences_; }    // of all sources, each once
  std::int64_t documents() const { return documents_; }    // likewise
  std::int64_t targets() const { return targets_; }        // likewise
  std::int64_t text_bytes() const { return text_bytes_; }  // likewise

  // A source by itself; a task has none.
  std::size_t source_count() const { return packings_.size(); }
  const Source& source(std::size_t s) const { return sources_[s]; }
  std::int64_t source_sequences(std::size_t s) const { return packings_[s].sequences(); }
  double source_share(std::size_t s) const;  // of the training samples
  // Share of the positions of training samples that hold nothing.
  double padding() const;

  // Global training samples -> a batch of samples.size() sequences. Allocates nothing once the
  // batch has had its size.
  void fill(std::span<const std::int64_t> samples, Batch& batch) const;
  // Sequences begin .. begin + B - 1 in a fixed order that mixes lengths; past the end padding.
  void fill_in_order(std::int64_t begin, std::int64_t B, Batch& batch) const;
  // The first `count` of that order, those of a source together, in order; one list of a task.
  std::vector<std::vector<std::int64_t>> in_order_by_source(std::int64_t count) const;
  // These of that order.
  void fill_in_order(std::span<const std::int64_t> which, Batch& batch) const;
  // Bytes of text that the batch's targets stand for: what bits per byte divides by.
  std::int64_t batch_text_bytes(const Batch& batch) const;

  // How often each id is read in sequences() training samples. [vocabulary, or what a task knows]
  std::vector<std::int64_t> token_counts() const;
  // Equal for equal documents, tokenizer, packing and weights; 64 hex digits.
  const std::string& fingerprint() const { return fingerprint_; }

 private:
  struct Place {
    std::size_t source;
    std::int64_t sequence;  // of the source
  };
  Place place_in_order(std::int64_t i) const;
  void fill_one_in_order(std::int64_t i, std::int64_t b, Batch& batch) const;
  void fill_sequence(const Packing& packing, std::int64_t sequence, std::int64_t b,
                     Batch& batch) const;
  void fill_padding(std::int64_t begin, std::int64_t end, Batch& batch) const;
  std::vector<std::int64_t> task_token_counts() const;
  std::string measure_task_fingerprint() const;
  void pack(std::int64_t T);
  std::string measure_fingerprint() const;

  std::optional<Episodes> episodes_;  // then there is no text
  std::shared_ptr<const Documents> text_;
  std::vector<Source> sources_;
  std::string tokenizer_;  // its fingerprint
  std::uint64_t seed_ = 0;
  std::int64_t T_ = 0;
  std::vector<Packing> packings_;  // one for each source
  std::optional<Sampler> sampler_;
  std::vector<std::int32_t> id_bytes_;  // [vocabulary] bytes of text of an id
  std::int64_t sequences_ = 0, documents_ = 0, targets_ = 0, text_bytes_ = 0;
  std::string fingerprint_;
};

// One entry of data.train, as far as it is trained on.
struct CorpusSize {
  std::string name;  // the end of its path that no other has
  std::int64_t documents = 0, text_bytes = 0;
};

struct DataSplit {
  Dataset train, validation;             // validation has no sequences if none was asked for
  std::vector<std::string> warnings;     // a sentence each
  std::vector<CorpusSize> corpora = {};  // where there are several
};

// Throws Error(kUsage) for an impossible DataConfig and Error(kData) for bad or empty corpora.
DataSplit load_data(const DataConfig& config, const Tokenizer& tokenizer);

}  // namespace shoal

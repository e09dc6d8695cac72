#pragma once
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "train/config/batch_sizes.h"
#include "train/config/run_config.h"
#include "train/metrics/records.h"

namespace shoal {

// What a run's data comes to, so that nobody trains on other than was meant: how much is held out,
// how often each source is read, what is padding.
struct DataSummary {
  struct Source {
    std::string name;
    std::int64_t documents = 0, sequences = 0;  // of the first stage
    double share = 1.0;                         // of the training samples
    double epochs = 0.0;                        // over the whole run; 0: nobody knows its end
  };
  std::vector<Source> sources;                                // none of a task
  std::int64_t documents = 0, text_bytes = 0, sequences = 0;  // to train on
  std::int64_t held_out_documents = 0, held_out_bytes = 0;
  double asked_share = 0.0;  // data.validation; 0 where files are named
  std::vector<CorpusSize> corpora;
  std::vector<std::string> warnings;

  double held_out_share() const;       // of the documents
  double held_out_text_share() const;  // of their text
};

// `data` and `sizes` belong together; `steps` 0: a clock ends the run.
DataSummary summarise(std::span<const DataSplit> data, std::span<const BatchSizes> sizes,
                      std::int64_t steps, double asked_share);

// Weights of a run go on to another share of the same corpus, in an evaluation, a fork or a run
// that begins with them: a sentence where some of what is held out now was learned before, else "".
std::string what_was_learned(const RunConfig& before, const RunConfig& now);

std::vector<std::string> lines_of(const DataSummary& summary);  // for the console
Json json_of(const DataSummary& summary);                       // of the event "data"

}  // namespace shoal

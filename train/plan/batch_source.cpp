#include "train/plan/batch_source.h"

#include <numeric>

#include "autograd/base/sha256.h"

namespace shoal {
namespace {

std::vector<DataSplit> load(const RunConfig& config, const std::vector<BatchSizes>& sizes,
                            const Tokenizer& tokenizer) {
  std::vector<DataSplit> data = {
      load_data(data_config(config, sizes.front().sequence_length), tokenizer)};
  for (std::size_t i = 1; i < sizes.size(); ++i) {
    const std::int64_t T = sizes[i].sequence_length;
    const DataSplit& last = data.back();
    data.push_back(T == sizes[i - 1].sequence_length
                       ? last
                       : DataSplit{last.train.with_length(T), last.validation.with_length(T), {}});
  }
  return data;
}

}  // namespace

DataConfig data_config(const RunConfig& config, std::int64_t sequence_length) {
  DataConfig d;
  for (const CorpusSpec& c : config.data.train) d.train.push_back({c.path, c.weight, c.task});
  for (const CorpusSpec& c : config.data.validation_files) {
    d.validation_files.push_back({c.path, c.weight, c.task});
  }
  d.validation_share = config.data.validation_share;
  d.sequence_length = sequence_length;
  d.seed = config.run.seed;
  return d;
}

BatchSource::BatchSource(const RunConfig& config, const RunPlan& plan, const Tokenizer& tokenizer)
    : plan_(plan), data_(load(config, plan.sizes(), tokenizer)) {}

void BatchSource::batches(const RunPosition& position, std::int64_t done,
                          std::vector<Batch>& into) const {
  const BatchSizes& sizes = plan_.sizes()[plan_.stretch_at(done)];
  std::int64_t first = position.samples + plan_.sequences_between(position.step, done);
  CHECK(first >= 0, "batches of step ", done, " seen from step ", position.step);
  into.resize(static_cast<std::size_t>(sizes.micro_batches()));
  std::vector<std::int64_t> samples(static_cast<std::size_t>(sizes.micro_batch));
  for (Batch& batch : into) {
    std::iota(samples.begin(), samples.end(), first);
    data_at(done).train.fill(samples, batch);
    first += sizes.micro_batch;
  }
}

std::string BatchSource::fingerprint(Dataset DataSplit::*part) const {
  std::string all = (data_.front().*part).fingerprint();
  for (std::size_t i = 1; i < data_.size(); ++i) all += (data_[i].*part).fingerprint();
  return data_.size() == 1 ? all : sha256_hex(all.data(), all.size());
}

}  // namespace shoal

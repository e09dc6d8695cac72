#include "data/dataset.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "autograd/base/check.h"
#include "autograd/base/rng.h"
#include "autograd/base/sha256.h"
#include "data/permutation.h"
#include "data/tokenizer/bytes.h"

namespace shoal {
namespace {

void resize(Batch& batch, std::int64_t B, std::int64_t T, bool with_roles) {
  CHECK(B >= 1 && B <= INT32_MAX / T, "batch: ", B, " sequences of ", T);
  batch.B = B;
  batch.T = T;
  const auto rows = static_cast<std::size_t>(batch.rows());
  batch.tokens.resize(rows);
  batch.targets.resize(rows);
  batch.first.resize(rows);
  batch.roles.resize(with_roles ? rows : 0);
}

}  // namespace

Dataset::Dataset(std::shared_ptr<const Documents> documents, const std::vector<Source>& sources,
                 const Tokenizer& tokenizer, std::int64_t T, std::uint64_t seed)
    : text_(std::move(documents)),
      sources_(sources),
      tokenizer_(tokenizer.fingerprint()),
      seed_(seed) {
  for (std::int64_t id = 0; id < tokenizer.vocab_size(); ++id) {
    id_bytes_.push_back(
        static_cast<std::int32_t>(tokenizer.text_bytes(static_cast<std::int32_t>(id))));
  }
  for (const Source& source : sources_) {
    documents_ += static_cast<std::int64_t>(source.documents.size());
    for (const std::int64_t d : source.documents) {
      for (const std::int32_t id : text_->document(d)) {
        text_bytes_ += id_bytes_[static_cast<std::size_t>(id)];
      }
    }
  }
  pack(T);
}

void Dataset::pack(std::int64_t T) {
  T_ = T;
  packings_.clear();
  sequences_ = targets_ = 0;
  std::vector<Sampler::Source> sampled;
  for (const Source& source : sources_) {
    packings_.push_back(pack_documents(*text_, source.documents, T_));
    sampled.push_back({packings_.back().sequences(), source.weight});
    sequences_ += packings_.back().sequences();
    targets_ += packings_.back().targets();
  }
  if (!sampled.empty()) sampler_.emplace(seed_, std::move(sampled));
  fingerprint_ = measure_fingerprint();
}

Dataset Dataset::with_length(std::int64_t T) const {
  if (episodes_) {
    Dataset other = *this;
    other.episodes_ = episodes_->with_length(T);
    other.T_ = T;
    other.targets_ = other.sequences_ * T;
    other.fingerprint_ = other.measure_task_fingerprint();
    return other;
  }
  Dataset other = *this;
  other.pack(T);
  return other;
}

Dataset::Dataset(const TaskConfig& task, std::int64_t T, std::uint64_t seed, bool held_out)
    : episodes_(std::in_place, task, T, seed, held_out),
      T_(T),
      sequences_(task.episodes),
      documents_(task.episodes),
      targets_(task.episodes * T) {
  fingerprint_ = measure_task_fingerprint();
}

void Dataset::fill(std::span<const std::int64_t> samples, Batch& batch) const {
  CHECK(episodes_ || sampler_, "data set: fill() of an empty one");
  resize(batch, static_cast<std::int64_t>(samples.size()), T_, episodes_.has_value());
  for (std::size_t b = 0; b < samples.size(); ++b) {
    if (episodes_) {
      episodes_->fill(samples[b], static_cast<std::int64_t>(b), batch);
      continue;
    }
    const Sampler::Pick pick = (*sampler_)(samples[b]);
    fill_sequence(packings_[static_cast<std::size_t>(pick.source)], pick.sequence,
                  static_cast<std::int64_t>(b), batch);
  }
}

void Dataset::fill_in_order(std::int64_t begin, std::int64_t B, Batch& batch) const {
  CHECK(begin >= 0, "data set: sequence ", begin);
  resize(batch, B, T_, episodes_.has_value());
  for (std::int64_t b = 0; b < B; ++b) fill_one_in_order(begin + b, b, batch);
}

void Dataset::fill_in_order(std::span<const std::int64_t> which, Batch& batch) const {
  resize(batch, static_cast<std::int64_t>(which.size()), T_, episodes_.has_value());
  for (std::size_t b = 0; b < which.size(); ++b) {
    fill_one_in_order(which[b], static_cast<std::int64_t>(b), batch);
  }
}

void Dataset::fill_one_in_order(std::int64_t i, std::int64_t b, Batch& batch) const {
  if (i >= sequences_) return fill_padding(b * T_, (b + 1) * T_, batch);
  if (episodes_) return episodes_->fill(i, b, batch);
  const Place place = place_in_order(i);
  fill_sequence(packings_[place.source], place.sequence, b, batch);
}

// Packing puts long pieces first; a part of the data has to look like the whole.
Dataset::Place Dataset::place_in_order(std::int64_t i) const {
  Place place{0, KeyedPermutation(sequences_, Rng(0, Purpose::kSplit))(i)};
  while (place.sequence >= packings_[place.source].sequences()) {
    place.sequence -= packings_[place.source++].sequences();
  }
  return place;
}

std::vector<std::vector<std::int64_t>> Dataset::in_order_by_source(std::int64_t count) const {
  std::vector<std::vector<std::int64_t>> lists(std::max<std::size_t>(packings_.size(), 1));
  for (std::int64_t i = 0; i < count; ++i) {
    lists[episodes_ ? 0 : place_in_order(i).source].push_back(i);
  }
  return lists;
}

void Dataset::fill_sequence(const Packing& packing, std::int64_t sequence, std::int64_t b,
                            Batch& batch) const {
  std::int64_t n = b * T_;
  for (const Piece& piece : packing.sequence(sequence)) {
    const std::int32_t* from = text_->tokens.data() + piece.begin;
    std::copy_n(from, piece.length, batch.tokens.begin() + n);
    std::copy_n(from + 1, piece.length, batch.targets.begin() + n);
    std::fill_n(batch.first.begin() + n, piece.length, static_cast<std::int32_t>(n));
    n += piece.length;
  }
  fill_padding(n, (b + 1) * T_, batch);
}

void Dataset::fill_padding(std::int64_t begin, std::int64_t end, Batch& batch) const {
  std::fill(batch.tokens.begin() + begin, batch.tokens.begin() + end, 0);
  std::fill(batch.targets.begin() + begin, batch.targets.begin() + end, -1);
  std::fill(batch.first.begin() + begin, batch.first.begin() + end,
            static_cast<std::int32_t>(begin));
  if (!batch.roles.empty()) {
    std::fill(batch.roles.begin() + begin, batch.roles.begin() + end, RowRole::kPadding);
  }
}

std::int64_t Dataset::batch_text_bytes(const Batch& batch) const {
  std::int64_t bytes = 0;
  if (episodes_) return bytes;  // nobody wrote them
  for (const std::int32_t id : batch.targets) {
    if (id >= 0) bytes += id_bytes_[static_cast<std::size_t>(id)];
  }
  return bytes;
}

double Dataset::source_share(std::size_t s) const {
  return sampler_->share(static_cast<std::int64_t>(s));
}

double Dataset::padding() const {
  double filled = episodes_ ? 1.0 : 0.0;
  for (std::size_t s = 0; s < packings_.size(); ++s) {
    filled += source_share(s) * static_cast<double>(packings_[s].targets()) /
              static_cast<double>(packings_[s].sequences() * T_);
  }
  return 1.0 - filled;
}

std::vector<std::int64_t> Dataset::token_counts() const {
  if (episodes_) return task_token_counts();
  std::vector<double> counts(id_bytes_.size(), 0.0);
  for (std::size_t s = 0; s < packings_.size(); ++s) {
    const Packing& packing = packings_[s];
    // Visits of each sequence of this source in sequences_ samples; 1 when there is one source.
    const double visits = sampler_->share(static_cast<std::int64_t>(s)) *
                          static_cast<double>(sequences_) /
                          static_cast<double>(packing.sequences());
    for (const Piece& piece : packing.pieces) {
      for (std::int64_t i = 0; i < piece.length; ++i) {
        const std::int32_t id = text_->tokens[static_cast<std::size_t>(piece.begin + i)];
        counts[static_cast<std::size_t>(id)] += visits;
      }
    }
  }
  std::vector<std::int64_t> rounded(counts.size());
  std::transform(counts.begin(), counts.end(), rounded.begin(),
                 [](double count) { return std::llround(count); });
  return rounded;
}

std::vector<std::int64_t> Dataset::task_token_counts() const {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(ByteTokenizer().vocab_size()), 0);
  Batch batch;
  for (std::int64_t episode = 0; episode < sequences_; ++episode) {
    fill({{episode}}, batch);
    for (const std::int32_t id : batch.tokens) ++counts[static_cast<std::size_t>(id)];
  }
  return counts;
}

std::string Dataset::measure_task_fingerprint() const {
  const TaskConfig& t = episodes_->task();
  const std::string text = concat(
      "task ", name_of(t.kind), ' ', T_, ' ', t.pairs, ' ', t.queries, ' ', t.key_length, ' ',
      t.value_length, ' ', t.min_distance, ' ', t.max_distance, ' ', t.length, ' ',
      t.loss_on_answer ? "answer" : "all", ' ', t.haystack.empty() ? "letters" : "text", ' ');
  Sha256 hash;
  hash.update(text.data(), text.size());
  hash.update(episodes_->haystack().data(), episodes_->haystack().size());
  return hash.hex();
}

std::string Dataset::measure_fingerprint() const {
  Sha256 hash;
  const auto add = [&hash](const auto& value) { hash.update(&value, sizeof(value)); };
  hash.update(tokenizer_.data(), tokenizer_.size());
  add(T_);
  for (std::size_t s = 0; s < packings_.size(); ++s) {
    const Packing& packing = packings_[s];
    add(sources_[s].weight);
    add(packing.sequences());
    for (std::int64_t i = 0; i < packing.sequences(); ++i) {
      for (const Piece& piece : packing.sequence(i)) {
        add(i);
        add(piece.length);
        hash.update(text_->tokens.data() + piece.begin,
                    (static_cast<std::size_t>(piece.length) + 1) * sizeof(std::int32_t));
      }
    }
  }
  return hash.hex();
}

}  // namespace shoal

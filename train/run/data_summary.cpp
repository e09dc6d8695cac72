#include "train/run/data_summary.h"

#include <algorithm>
#include <cmath>

#include "autograd/base/check.h"
#include "autograd/base/quantity.h"

namespace shoal {
namespace {

constexpr std::size_t kMostLines = 32;  // of corpora

double ratio(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
}

std::string times(double epochs) {
  return epochs > 0.0 ? concat(", ", format_short(epochs), " epochs") : "";
}

// What is wrong with the first sizes that something is wrong with.
void warn_of_little_data(std::span<const DataSplit> data, std::span<const BatchSizes> sizes,
                         std::vector<std::string>& warnings) {
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Dataset& train = data[i].train;
    if (train.task() != nullptr) return;
    const std::int64_t batch = sizes[i].sequences();
    if (train.padding() > 0.5) {
      warnings.push_back(concat(format_share(train.padding()),
                                " of every batch is padding: ", train.documents(),
                                " document(s) with ", train.text_bytes(), " bytes of text in ",
                                train.sequences(), " sequence(s) of ", train.sequence_length(),
                                "; lower data.sequence_length, or give it more text"));
    }
    if (train.sequences() < batch) {
      warnings.push_back(concat("the data is ", train.sequences(), " sequence(s), a step takes ",
                                batch,
                                ": it repeats them within itself; give it more text, or "
                                "lower train.batch_tokens"));
    }
    if (!warnings.empty()) return;
  }
}

}  // namespace

double DataSummary::held_out_share() const {
  return ratio(held_out_documents, documents + held_out_documents);
}

double DataSummary::held_out_text_share() const {
  return ratio(held_out_bytes, text_bytes + held_out_bytes);
}

DataSummary summarise(std::span<const DataSplit> data, std::span<const BatchSizes> sizes,
                      std::int64_t steps, double asked_share) {
  const Dataset& train = data.front().train;
  const Dataset& validation = data.front().validation;
  DataSummary out;
  out.documents = train.documents();
  out.text_bytes = train.text_bytes();
  out.sequences = train.sequences();
  out.held_out_documents = validation.documents();
  out.held_out_bytes = validation.text_bytes();
  out.asked_share = asked_share;
  out.corpora = data.front().corpora;
  for (std::size_t s = 0; s < train.source_count(); ++s) {
    const Dataset::Source& source = train.source(s);
    out.sources.push_back({source.name, static_cast<std::int64_t>(source.documents.size()),
                           train.source_sequences(s), train.source_share(s), 0.0});
  }
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::int64_t end = i + 1 < sizes.size() ? std::min(sizes[i + 1].from_step, steps) : steps;
    const auto samples = static_cast<double>(std::max<std::int64_t>(end - sizes[i].from_step, 0) *
                                             sizes[i].sequences());
    for (std::size_t s = 0; s < out.sources.size(); ++s) {
      out.sources[s].epochs += samples * data[i].train.source_share(s) /
                               static_cast<double>(data[i].train.source_sequences(s));
    }
  }
  warn_of_little_data(data, sizes, out.warnings);
  return out;
}

std::string what_was_learned(const RunConfig& before, const RunConfig& now) {
  const double share = now.data.validation_share, held_out = before.data.validation_share;
  const std::vector<CorpusSpec>& corpora = before.data.train;
  const auto same_path = [](const CorpusSpec& a, const CorpusSpec& b) { return a.path == b.path; };
  if (share <= held_out || corpora.empty() || corpora.front().task ||
      !std::equal(corpora.begin(), corpora.end(), now.data.train.begin(), now.data.train.end(),
                  same_path)) {
    return "";
  }
  return concat(
      "data.validation: these weights come from a run that held out ", held_out,
      " of data.train, not ", share, ": ",
      held_out > 0.0 ? concat("about ", format_share(1.0 - held_out / share), " of") : "all",
      " the documents that are held out now it has learned");
}

std::vector<std::string> lines_of(const DataSummary& d) {
  std::vector<std::string> lines;
  if (d.sources.empty()) return lines;
  if (d.asked_share > 0.0) {
    lines.push_back(concat(
        "held out: ", d.held_out_documents, " of ", d.documents + d.held_out_documents,
        " documents, ", format_share(d.held_out_share()), " (data.validation asks for ",
        format_share(d.asked_share), "), ", format_share(d.held_out_text_share()), " of the text"));
  }
  if (d.sources.size() > 1) {
    for (const DataSummary::Source& s : d.sources) {
      lines.push_back(concat("  ", s.name, ": ", s.documents, " documents in ", s.sequences,
                             " sequences, ", format_share(s.share), " of the samples",
                             times(s.epochs)));
      if (lines.size() == kMostLines) break;
    }
    return lines;
  }
  if (d.corpora.size() > 1 && d.corpora.size() <= kMostLines) {
    for (const CorpusSize& c : d.corpora) {
      lines.push_back(concat("  ", c.name, ": ", c.documents, " documents, ",
                             format_share(ratio(c.text_bytes, d.text_bytes)), " of the text"));
    }
  }
  if (const double epochs = d.sources[0].epochs; epochs >= 1.0) {
    lines.push_back(
        concat("the run takes every sequence ", format_short(epochs), " times (epochs)"));
  } else if (epochs > 0.0) {
    lines.push_back(concat("the run takes ", format_share(epochs), " of the sequences, each once"));
  }
  return lines;
}

Json json_of(const DataSummary& d) {
  Json json = {{"documents", d.documents},
               {"text_bytes", d.text_bytes},
               {"sequences", d.sequences},
               {"held_out_documents", d.held_out_documents},
               {"held_out_bytes", d.held_out_bytes}};
  if (d.asked_share > 0.0) {
    json["held_out_asked"] = d.asked_share;
    json["held_out"] = d.held_out_share();
  }
  json["sources"] = Json::array();
  for (const DataSummary::Source& s : d.sources) {
    Json one = {{"source", s.name},
                {"documents", s.documents},
                {"sequences", s.sequences},
                {"samples", s.share}};
    one["epochs"] = s.epochs > 0.0 ? Json(s.epochs) : Json(nullptr);
    json["sources"].push_back(std::move(one));
  }
  if (d.corpora.size() > d.sources.size() && d.corpora.size() <= kMostLines) {
    for (const CorpusSize& c : d.corpora) {
      json["corpora"].push_back(
          {{"source", c.name}, {"documents", c.documents}, {"text_bytes", c.text_bytes}});
    }
  }
  return json;
}

}  // namespace shoal

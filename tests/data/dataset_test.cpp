#include "data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "data/prepare.h"
#include "data/tokenizer/bytes.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const ByteTokenizer kBytes;

std::vector<std::int64_t> range(std::int64_t begin, std::int64_t end) {
  std::vector<std::int64_t> samples(static_cast<std::size_t>(end - begin));
  std::iota(samples.begin(), samples.end(), begin);
  return samples;
}

// Documents of different texts and lengths: "<0>aaa...", "<1>bbbb...".
std::string corpus(int count) {
  std::string text;
  for (int d = 0; d < count; ++d) {
    text +=
        concat('<', d, '>',
               std::string(static_cast<std::size_t>(d * 37 % 101), static_cast<char>('a' + d % 26)),
               "\n\n");
  }
  return text;
}

// The pieces that a batch holds, as text: bos is ^, eos is $, and a piece ends with its last
// target.
std::vector<std::string> pieces_of(const Batch& batch) {
  std::vector<std::string> pieces;
  const auto shown = [](std::int32_t id) {
    return id == 0 ? '^' : id == 1 ? '$' : static_cast<char>(id - 2);
  };
  for (std::int64_t n = 0; n < batch.rows(); ++n) {
    const auto i = static_cast<std::size_t>(n);
    if (batch.is_padding(n)) {
      EXPECT_EQ(batch.tokens[i], 0);
      EXPECT_EQ(batch.targets[i], -1);
      // Padding is one last piece of its sequence.
      const bool begins = n % batch.T == 0 || !batch.is_padding(n - 1);
      EXPECT_EQ(batch.first[i], begins ? n : batch.first[i - 1]);
      EXPECT_TRUE((n + 1) % batch.T == 0 || batch.is_padding(n + 1));
      continue;
    }
    if (batch.first[i] == n) {
      pieces.emplace_back(1, shown(batch.tokens[i]));
    } else {
      EXPECT_NE(n % batch.T, 0) << "a piece crosses a sequence's border";
      EXPECT_EQ(batch.first[i], batch.first[i - 1]);
      EXPECT_EQ(batch.tokens[i], batch.targets[i - 1]) << "targets are inputs shifted by one";
    }
    pieces.back() += shown(batch.targets[i]);
  }
  return pieces;
}

// What pieces of T predictions a document is cut into.
void expect_cut_documents(const std::string& text, std::vector<std::string> pieces,
                          std::int64_t T) {
  std::vector<std::string> want;
  std::size_t at = 0;
  for (std::size_t end; (end = text.find("\n\n", at)) != std::string::npos; at = end + 2) {
    const std::string document = concat("^", text.substr(at, end - at), "$");
    for (std::size_t s = 0; s + 1 < document.size(); s += static_cast<std::size_t>(T)) {
      want.push_back(document.substr(s, static_cast<std::size_t>(T) + 1));
    }
  }
  std::sort(want.begin(), want.end());
  std::sort(pieces.begin(), pieces.end());
  EXPECT_EQ(pieces, want);
}

TEST(Dataset, AnEpochHoldsEveryPieceOfEveryDocumentOnce) {
  const TemporaryFolder folder;
  const std::string text = corpus(40);
  const std::string path = folder.write("c.txt", text);
  for (const std::int64_t T : {1, 8, 64, 500}) {
    const DataSplit data = load_data({{{path}}, 0.0, {}, T, 1}, kBytes);
    EXPECT_EQ(data.validation.sequences(), 0);
    const std::int64_t n = data.train.sequences();
    std::int64_t text_bytes = 0;
    for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
      Batch batch;
      data.train.fill(range(epoch * n, (epoch + 1) * n), batch);
      EXPECT_EQ(batch.B, n);
      EXPECT_EQ(batch.T, T);
      expect_cut_documents(text, pieces_of(batch), T);
      text_bytes = data.train.batch_text_bytes(batch);
    }
    EXPECT_EQ(text_bytes, static_cast<std::int64_t>(text.size()) - 80);
    EXPECT_EQ(data.train.text_bytes(), text_bytes);
    EXPECT_EQ(data.train.documents(), 40);
    EXPECT_EQ(data.train.targets(), text_bytes + 40);  // and an eos each

    Batch batch;
    data.train.fill_in_order(0, n + 3, batch);  // three sequences of padding
    expect_cut_documents(text, pieces_of(batch), T);
    for (std::int64_t row = n * T; row < batch.rows(); ++row) {
      EXPECT_TRUE(batch.is_padding(row));
      EXPECT_EQ(batch.first[static_cast<std::size_t>(row)], row / T * T);
    }
  }
}

TEST(Dataset, ASampleDependsOnItsNumberAlone) {
  const TemporaryFolder folder;
  const DataConfig config{{{folder.write("c.txt", corpus(40))}}, 0.0, {}, 32, 7};
  const DataSplit data = load_data(config, kBytes);
  Batch whole;
  data.train.fill(range(0, 100), whole);
  for (std::int64_t g = 99; g >= 0; --g) {
    Batch one;
    data.train.fill(range(g, g + 1), one);
    EXPECT_TRUE(std::equal(one.tokens.begin(), one.tokens.end(), whole.tokens.begin() + g * 32));
    EXPECT_TRUE(std::equal(one.targets.begin(), one.targets.end(), whole.targets.begin() + g * 32));
  }
  DataConfig other = config;
  other.seed = 8;
  const DataSplit reordered = load_data(other, kBytes);
  Batch batch;
  reordered.train.fill(range(0, 100), batch);
  EXPECT_NE(batch.tokens, whole.tokens);
}

TEST(Dataset, AFilledBatchKeepsItsMemory) {
  const TemporaryFolder folder;
  const DataSplit data = load_data({{{folder.write("c.txt", corpus(40))}}, 0.0, {}, 32, 7}, kBytes);
  Batch batch;
  data.train.fill(range(0, 8), batch);
  const auto* tokens = batch.tokens.data();
  const auto* targets = batch.targets.data();
  const auto* first = batch.first.data();
  for (std::int64_t step = 1; step < 20; ++step) {
    data.train.fill(range(step * 8, step * 8 + 8), batch);
    data.train.fill_in_order(step, 3, batch);
  }
  EXPECT_EQ(batch.tokens.data(), tokens);
  EXPECT_EQ(batch.targets.data(), targets);
  EXPECT_EQ(batch.first.data(), first);
}

TEST(Dataset, TokenCountsAreTheReadsOfAnEpoch) {
  const TemporaryFolder folder;
  const DataSplit data = load_data({{{folder.write("c.txt", corpus(40))}}, 0.0, {}, 16, 7}, kBytes);
  Batch batch;
  data.train.fill(range(0, data.train.sequences()), batch);
  std::vector<std::int64_t> want(258);
  for (std::int64_t n = 0; n < batch.rows(); ++n) {
    if (!batch.is_padding(n)) {
      ++want[static_cast<std::size_t>(batch.tokens[static_cast<std::size_t>(n)])];
    }
  }
  EXPECT_EQ(want[0], 40);
  EXPECT_EQ(want[1], 0);  // eos is never read
  EXPECT_EQ(data.train.token_counts(), want);
}

TEST(Dataset, WeightsMixCorporaByTheirShare) {
  const TemporaryFolder folder;
  const std::string a = folder.write("a.txt", std::string(3005, 'a'));
  const std::string b = folder.write("b.txt", std::string(705, 'b'));
  const DataSplit data = load_data({{{a, 1.0}, {b, 3.0}}, 0.0, {}, 10, 1}, kBytes);
  Batch batch;
  data.train.fill(range(0, 4096), batch);
  int from_a = 0;
  for (std::int64_t s = 0; s < 4096; ++s) {
    from_a += batch.targets[static_cast<std::size_t>(s * 10)] == 2 + 'a';
  }
  EXPECT_NEAR(from_a, 1024, 1);
  const std::vector<std::int64_t> counts = data.train.token_counts();
  EXPECT_NEAR(static_cast<double>(counts[2 + 'b']) / static_cast<double>(counts[2 + 'a']), 3.0,
              0.1);

  // Equal weights of 1: one source, so each sequence appears once.
  const DataSplit pooled = load_data({{{a}, {b}}, 0.0, {}, 10, 1}, kBytes);
  pooled.train.fill(range(0, pooled.train.sequences()), batch);
  EXPECT_EQ(std::count(batch.targets.begin(), batch.targets.end(), 2 + 'a'), 3005);
  EXPECT_EQ(std::count(batch.targets.begin(), batch.targets.end(), 2 + 'b'), 705);
}

TEST(LoadData, TrainsAndValidatesOnDifferentDocuments) {
  const TemporaryFolder folder;
  const std::string text = corpus(100);
  const DataSplit data = load_data({{{folder.write("c.txt", text)}}, 0.1, {}, 1000, 1}, kBytes);
  EXPECT_EQ(data.train.documents() + data.validation.documents(), 100);
  EXPECT_NEAR(static_cast<double>(data.validation.documents()), 10.0, 9.0);
  Batch train, validation;
  data.train.fill(range(0, data.train.sequences()), train);
  data.validation.fill_in_order(0, data.validation.sequences(), validation);
  auto pieces = pieces_of(train);
  const auto held_out = pieces_of(validation);
  pieces.insert(pieces.end(), held_out.begin(), held_out.end());
  expect_cut_documents(text, pieces, 1000);
}

TEST(LoadData, TheSplitIsTheSameFromATokenFileAndInAnyOrder) {
  const TemporaryFolder folder;
  const std::string text = folder.write("c.txt", corpus(100));
  prepare(folder / "c.tokens", {text}, kBytes, 3);
  const auto validation = [](const std::string& path, std::uint64_t seed) {
    const DataSplit data = load_data({{{path}}, 0.1, {}, 1000, seed}, kBytes);
    Batch batch;
    data.validation.fill_in_order(0, data.validation.sequences(), batch);
    auto pieces = pieces_of(batch);
    std::sort(pieces.begin(), pieces.end());
    return pieces;
  };
  EXPECT_EQ(validation(text, 1), validation(folder / "c.tokens", 1));
  EXPECT_EQ(validation(text, 1), validation(text, 2));
}

TEST(LoadData, NamedFilesAreTheValidation) {
  const TemporaryFolder folder;
  const std::string a = folder.write("a.txt", "train"), b = folder.write("b.txt", "held out");
  const DataSplit data = load_data({{{a}}, 0.05, {{b}}, 64, 1}, kBytes);
  Batch batch;
  data.train.fill(range(0, 1), batch);
  EXPECT_EQ(pieces_of(batch), std::vector<std::string>{"^train$"});
  data.validation.fill_in_order(0, 1, batch);
  EXPECT_EQ(pieces_of(batch), std::vector<std::string>{"^held out$"});
}

TEST(LoadData, AnEvaluationNeedsNothingToTrainOn) {
  const TemporaryFolder folder;
  const DataSplit data =
      load_data({{}, 0.05, {{folder.write("b.txt", "held out")}}, 64, 1}, kBytes);
  EXPECT_EQ(data.train.sequences(), 0);
  EXPECT_EQ(data.validation.documents(), 1);
  EXPECT_THAT(data.warnings, ::testing::IsEmpty());
  CorpusPath task;
  task.task = default_task(TaskKind::kCopy);
  EXPECT_EQ(load_data({{}, 0.0, {task}, 64, 1}, kBytes).validation.sequences(), 64);
}

TEST(LoadData, FingerprintsTellDataApart) {
  const TemporaryFolder folder;
  const std::string a = folder.write("a.txt", corpus(20)), b = folder.write("b.txt", corpus(21));
  const auto print = [](const DataConfig& config) {
    return load_data(config, kBytes).train.fingerprint();
  };
  const DataConfig base{{{a}}, 0.0, {}, 32, 1};
  EXPECT_EQ(print(base), print(base));
  EXPECT_EQ(print(base).size(), 64U);
  std::map<std::string, int> prints;
  ++prints[print(base)];
  ++prints[print({{{b}}, 0.0, {}, 32, 1})];
  ++prints[print({{{a}}, 0.1, {}, 32, 1})];
  ++prints[print({{{a}}, 0.0, {}, 33, 1})];
  ++prints[print({{{a}, {b}}, 0.0, {}, 32, 1})];
  ++prints[print({{{a}, {b, 2.0}}, 0.0, {}, 32, 1})];
  EXPECT_EQ(prints.size(), 6U);
}

TEST(LoadData, RefusesWhatCannotBe) {
  const TemporaryFolder folder;
  const std::string a = folder.write("a.txt", corpus(20)), b = folder.write("b.txt", "b");
  const auto refusal = [](Failure why, const DataConfig& config) {
    return message_of(why, [&] { load_data(config, kBytes); });
  };
  const Failure usage = Failure::kUsage, data = Failure::kData;
  EXPECT_THAT(refusal(usage, {{}, 0.0, {}, 8, 1}), HasSubstr("data.train"));
  EXPECT_THAT(refusal(usage, {{{a}}, 0.0, {}, 0, 1}), HasSubstr("data.sequence_length: is 0"));
  EXPECT_THAT(refusal(usage, {{{a}}, 1.0, {}, 8, 1}), HasSubstr("data.validation: is 1"));
  EXPECT_THAT(refusal(usage, {{{a}}, -0.1, {}, 8, 1}), HasSubstr("data.validation"));
  EXPECT_THAT(refusal(usage, {{{a}}, std::nan(""), {}, 8, 1}), HasSubstr("data.validation"));
  EXPECT_THAT(refusal(usage, {{{a}}, 0.0, {{b, 2.0}}, 8, 1}),
              AllOf(HasSubstr("data.validation"), HasSubstr("weight")));
  EXPECT_THAT(refusal(usage, {{{a, 0.0}}, 0.0, {}, 8, 1}), HasSubstr("weight of"));
  EXPECT_THAT(refusal(usage, {{{a, std::nan("")}}, 0.0, {}, 8, 1}), HasSubstr("weight of"));
  EXPECT_THAT(refusal(usage, {{{a, 1.0}, {b, 2000.0}}, 0.0, {}, 8, 1}), HasSubstr("smallest"));
  EXPECT_THAT(refusal(data, {{{b}}, 0.05, {}, 8, 1}), HasSubstr("leaves nothing to validate on"));
  EXPECT_THAT(refusal(data, {{{a}}, 0.0, {{folder / "no.txt"}}, 8, 1}), HasSubstr("no.txt"));
  // Every document of one of two weighted corpora is held out.
  EXPECT_THAT(refusal(data, {{{b, 1.0}, {b, 2.0}, {a, 1.0}}, 0.999 - 1.0 / 22, {}, 8, 1}),
              AllOf(HasSubstr("data.validation"), HasSubstr("leaves nothing")));
}

TEST(LoadData, AValidationOfSeveralCorporaKeepsThemApart) {
  const TemporaryFolder folder;
  const std::string a =
      folder.write("a/x.txt", std::string(95, 'a') + "\n\n" + std::string(11, 'a'));
  const std::string b = folder.write("b/x.txt", std::string(205, 'b'));
  const std::string t = folder.write("t.txt", "train");
  const Dataset data = load_data({{{t}}, 0.0, {{a}, {b}}, 10, 1}, kBytes).validation;
  ASSERT_EQ(data.source_count(), 2U);
  EXPECT_EQ(data.source(0).name, "a/x.txt");
  EXPECT_EQ(data.source(1).name, "b/x.txt");
  EXPECT_EQ(data.source(0).documents.size(), 2U);
  const auto lists = data.in_order_by_source(data.sequences() - 1);
  ASSERT_EQ(lists.size(), 2U);
  std::vector<std::int64_t> all;
  for (std::size_t s = 0; s < 2; ++s) {
    EXPECT_TRUE(std::is_sorted(lists[s].begin(), lists[s].end()));
    all.insert(all.end(), lists[s].begin(), lists[s].end());
    Batch batch, one;
    data.fill_in_order(lists[s], batch);
    for (const std::int32_t id : batch.targets) {
      EXPECT_TRUE(id < 2 || id == 2 + (s == 0 ? 'a' : 'b'));
    }
    // The same sequences as in the order of all.
    for (std::size_t i = 0; i < lists[s].size(); ++i) {
      data.fill_in_order(lists[s][i], 1, one);
      EXPECT_TRUE(std::equal(one.targets.begin(), one.targets.end(),
                             batch.targets.begin() + static_cast<std::ptrdiff_t>(10 * i)));
    }
  }
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, range(0, data.sequences() - 1));

  // A task is one.
  const Dataset task(default_task(TaskKind::kCopy), 32, 0, true);
  EXPECT_EQ(task.in_order_by_source(3), (std::vector<std::vector<std::int64_t>>{{0, 1, 2}}));
  EXPECT_EQ(task.padding(), 0.0);
}

TEST(LoadData, SaysWhatIsReadTwice) {
  const TemporaryFolder folder;
  const std::string a = folder.write("d/a.txt", "one\n\ntwo"), b = folder.write("d/b.txt", "three");
  std::filesystem::create_symlink(a, folder / "link.txt");
  const auto warnings = [](std::vector<CorpusPath> train, std::vector<CorpusPath> validation) {
    return load_data({std::move(train), 0.0, std::move(validation), 10, 1}, kBytes).warnings;
  };
  using ::testing::ElementsAre;
  using ::testing::IsEmpty;
  EXPECT_THAT(warnings({{a}, {b}}, {}), IsEmpty());
  EXPECT_THAT(warnings({{a}}, {{b}}), IsEmpty());
  EXPECT_THAT(warnings({{a}, {folder / "link.txt"}}, {}),
              ElementsAre(HasSubstr("documents are copies"), HasSubstr("link.txt: named twice")));
  // One document in the folder, two as a file: their texts alone would not tell.
  EXPECT_THAT(warnings({{folder / "d"}, {a}}, {}), ElementsAre(HasSubstr("a.txt: named twice")));
  EXPECT_THAT(warnings({{folder / "d"}}, {{a}}),
              ElementsAre(HasSubstr("a.txt: in data.train and in data.validation")));
  EXPECT_THAT(prepare(folder / "x.tokens", {a, folder / "link.txt"}, kBytes, 1).warnings,
              ElementsAre(HasSubstr("link.txt: named twice")));
  const std::string copy = folder.write("copy.txt", "two\n\nfour");
  EXPECT_THAT(warnings({{a}}, {{copy}}),
              ElementsAre(HasSubstr("data.validation: 1 of 2 documents are in data.train too")));
}

TEST(LoadData, CorporaAreNamedAndMeasured) {
  const TemporaryFolder folder;
  const std::string a = folder.write("p/c.txt", "one\n\ntwo"), b = folder.write("q/c.txt", "three");
  const DataSplit pooled = load_data({{{a}, {b}}, 0.0, {}, 10, 1}, kBytes);
  ASSERT_EQ(pooled.corpora.size(), 2U);
  EXPECT_EQ(pooled.corpora[0].name, "p/c.txt");
  EXPECT_EQ(pooled.corpora[0].documents, 2);
  EXPECT_EQ(pooled.corpora[0].text_bytes, 6);
  EXPECT_EQ(pooled.corpora[1].text_bytes, 5);
  ASSERT_EQ(pooled.train.source_count(), 1U);
  EXPECT_EQ(pooled.train.source(0).name, "p/c.txt, q/c.txt");
  EXPECT_EQ(pooled.train.source_share(0), 1.0);
  const DataSplit weighted = load_data({{{a}, {b, 3.0}}, 0.0, {}, 10, 1}, kBytes);
  ASSERT_EQ(weighted.train.source_count(), 2U);
  EXPECT_EQ(weighted.train.source(1).name, "q/c.txt");
  EXPECT_EQ(weighted.train.source_share(1), 0.75);
  EXPECT_EQ(weighted.train.source_sequences(1), 1);
  // Of 10 positions the first source fills 8 of its one sequence, the second 6.
  EXPECT_DOUBLE_EQ(weighted.train.padding(), 1.0 - 0.25 * 0.8 - 0.75 * 0.6);
}

TEST(LoadData, WhatMovesOrIsRenamedIsTheSameData) {
  const TemporaryFolder folder;
  folder.write("d/1.txt", corpus(20));
  folder.write("d/2.txt", corpus(9));
  folder.write("e/a", corpus(20));
  folder.write("e/b", corpus(9));
  const auto print = [](std::vector<CorpusPath> train) {
    return load_data({std::move(train), 0.0, {}, 32, 1}, kBytes).train.fingerprint();
  };
  EXPECT_EQ(print({{folder / "d"}}), print({{folder / "e"}}));
  EXPECT_EQ(print({{folder / "d/1.txt"}, {folder / "d/2.txt"}}),
            print({{folder.write("whole", corpus(20) + corpus(9))}}));
}

TEST(Dataset, EmptyDocumentsAloneAreNoCorpus) {
  const TemporaryFolder folder;
  Documents documents;
  documents.add("", kBytes);
  write_token_file(folder / "e.tokens", documents, {0}, kBytes);
  EXPECT_THAT(message_of(Failure::kData,
                         [&] {
                           load_data({{{folder / "e.tokens"}}, 0.0, {}, 8, 1}, kBytes);
                         }),
              HasSubstr("data.train: holds only empty documents"));
}

TEST(Dataset, OfAnotherLengthIsWhatItWouldHaveBeenFromTheStart) {
  const TemporaryFolder folder;
  DataConfig config;
  config.train = {{folder.write("a.txt", corpus(30)), 2.0, {}},
                  {folder.write("b.txt", corpus(20)), 1.0, {}}};
  config.validation_share = 0.2;
  config.sequence_length = 24;
  config.seed = 5;
  const DataSplit one = load_data(config, kBytes);
  config.sequence_length = 64;
  const DataSplit other = load_data(config, kBytes);
  const auto expect_equal = [](const Dataset& a, const Dataset& b) {
    EXPECT_EQ(a.fingerprint(), b.fingerprint());
    EXPECT_EQ(a.sequences(), b.sequences());
    EXPECT_EQ(a.targets(), b.targets());
    EXPECT_EQ(a.text_bytes(), b.text_bytes());
    EXPECT_EQ(a.sequence_length(), b.sequence_length());
  };
  expect_equal(one.train.with_length(64), other.train);
  expect_equal(one.validation.with_length(64), other.validation);
  EXPECT_NE(one.train.fingerprint(), other.train.fingerprint());
  Batch a, b;
  one.train.with_length(64).fill(range(3, 9), a);
  other.train.fill(range(3, 9), b);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.targets, b.targets);

  const TaskConfig task = default_task(TaskKind::kNeedle);
  expect_equal(Dataset(task, 32, 1, true).with_length(80), Dataset(task, 80, 1, true));
  Dataset(task, 32, 1, true).with_length(80).fill(range(0, 4), a);
  Dataset(task, 80, 1, true).fill(range(0, 4), b);
  EXPECT_EQ(a.tokens, b.tokens);
}

}  // namespace
}  // namespace shoal

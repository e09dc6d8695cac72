#include "train/run/data_summary.h"

#include <gmock/gmock.h>

#include "data/tokenizer/bytes.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const ByteTokenizer kBytes;

Stage stage(std::int64_t from_step, std::int64_t T, std::int64_t sequences) {
  return {from_step, T, T * sequences, 1};
}

TEST(DataSummary, CountsEpochsOfEachSourceOverTheStages) {
  const TemporaryFolder folder;
  const std::string a = folder.write("a.txt", std::string(79, 'a')),  // 80 targets, 8 sequences
      b = folder.write("b.txt", std::string(39, 'b'));                // 4
  const DataSplit one = load_data({{{a, 1.0}, {b, 3.0}}, 0.0, {}, 10, 1}, kBytes);
  const DataSplit two{one.train.with_length(20), one.validation.with_length(20), {}};
  const DataSplit data[] = {one, two};
  const Stage stages[] = {stage(0, 10, 4), stage(5, 20, 2)};
  const DataSummary d = summarise(data, stages, 15, 0.0);
  ASSERT_EQ(d.sources.size(), 2U);
  EXPECT_EQ(d.sources[0].name, "a.txt");
  EXPECT_EQ(d.sources[0].sequences, 8);
  // 20 samples of 8 sequences, then 20 of 4; a quarter of them from a.
  EXPECT_DOUBLE_EQ(d.sources[0].epochs, 20 * 0.25 / 8 + 20 * 0.25 / 4);
  EXPECT_DOUBLE_EQ(d.sources[1].epochs, 20 * 0.75 / 4 + 20 * 0.75 / 2);
  EXPECT_THAT(lines_of(d), ElementsAre(HasSubstr("a.txt: 1 documents in 8 sequences, 25.0 % of the "
                                                 "samples, 1.875 epochs"),
                                       HasSubstr("b.txt: ")));
  const Json json = json_of(d);
  EXPECT_EQ(json.at("sources").at(1).at("source"), "b.txt");
  EXPECT_EQ(json.at("sources").at(1).at("samples"), 0.75);
  EXPECT_FALSE(json.contains("held_out"));
  // A clock ends it: nobody knows.
  EXPECT_TRUE(json_of(summarise(data, stages, 0, 0.0)).at("sources").at(0).at("epochs").is_null());
  // It ends before the second stage.
  EXPECT_DOUBLE_EQ(summarise(data, stages, 2, 0.0).sources[0].epochs, 8 * 0.25 / 8);
}

TEST(DataSummary, SaysWhatIsHeldOut) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 60; ++i) text += concat("text ", i, "\n\n");
  const DataSplit data = load_data({{{folder.write("a.txt", text)}}, 0.2, {}, 100, 1}, kBytes);
  const Stage stages[] = {stage(0, 100, 1)};
  const DataSummary d = summarise({&data, 1}, stages, 12, 0.2);
  EXPECT_EQ(d.documents + d.held_out_documents, 60);
  EXPECT_EQ(d.held_out_documents, data.validation.documents());
  EXPECT_GT(d.held_out_documents, 0);
  const std::vector<std::string> lines = lines_of(d);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_THAT(lines[0],
              AllOf(HasSubstr(concat("held out: ", d.held_out_documents, " of 60 documents")),
                    HasSubstr("asks for 20.0 %")));
  EXPECT_THAT(lines[1], HasSubstr("epochs"));
  EXPECT_EQ(json_of(d).at("held_out_asked"), 0.2);
  EXPECT_THAT(d.warnings, IsEmpty());
}

TEST(DataSummary, WarnsWhereThereIsHardlyAnyData) {
  const TemporaryFolder folder;
  const std::string hello = folder.write("a.txt", "hello world");
  const DataSplit data = load_data({{{hello}}, 0.0, {}, 512, 1}, kBytes);
  const Stage stages[] = {stage(0, 512, 16)};
  EXPECT_THAT(summarise({&data, 1}, stages, 10, 0.0).warnings,
              ElementsAre(AllOf(HasSubstr("97.7 % of every batch is padding"),
                                HasSubstr("11 bytes"), HasSubstr("data.sequence_length")),
                          HasSubstr("the data is 1 sequence(s), a step takes 16")));
  // Sequences that it fills, and a batch that it has.
  const DataSplit fits = load_data({{{hello}}, 0.0, {}, 12, 1}, kBytes);
  const Stage small[] = {stage(0, 12, 1)};
  EXPECT_THAT(summarise({&fits, 1}, small, 10, 0.0).warnings, IsEmpty());
  // A later stage counts too.
  const DataSplit grown[] = {fits, {fits.train.with_length(48), fits.validation, {}}};
  const Stage grows[] = {stage(0, 12, 1), stage(5, 48, 1)};
  EXPECT_THAT(summarise(grown, grows, 10, 0.0).warnings, ElementsAre(HasSubstr("75.0 %")));
}

}  // namespace
}  // namespace shoal

#include "train/config/stages.h"

#include <gmock/gmock.h>

#include "tests/train/config/config_files.h"
#include "train/config/load_config.h"
#include "train/config/show_config.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

RunConfig staged() {
  RunConfig c;
  c.data.sequence_length = 64;
  c.train.batch_tokens = 512;
  c.train.micro_batch = 4;
  c.train.stages = {{10, 128, 0, 2}, {25, 0, 1024, 0}};
  return c;
}

TEST(Stages, InheritWhatTheyLeaveOut) {
  const std::vector<Stage> stages = stages_of(staged());
  ASSERT_EQ(stages.size(), 3U);
  EXPECT_EQ(stages[0].from_step, 0);
  EXPECT_EQ(stages[0].sequences(), 8);
  EXPECT_EQ(stages[0].micro_batches(), 2);
  EXPECT_EQ(stages[1].sequence_length, 128);
  EXPECT_EQ(stages[1].batch_tokens, 512);
  EXPECT_EQ(stages[1].micro_batches(), 2);
  EXPECT_EQ(stages[2].sequence_length, 128);
  EXPECT_EQ(stages[2].sequences(), 8);
  EXPECT_EQ(stages[2].micro_batches(), 4);
  for (const auto& [step, at] : std::vector<std::pair<std::int64_t, std::size_t>>{
           {0, 0}, {9, 0}, {10, 1}, {24, 1}, {25, 2}, {1000, 2}}) {
    EXPECT_EQ(stage_at(stages, step), at) << step;
  }
  RunConfig from_the_start = staged();
  from_the_start.train.stages = {{0, 256, 0, 1}};
  ASSERT_EQ(stages_of(from_the_start).size(), 1U);
  EXPECT_EQ(stages_of(from_the_start)[0].sequence_length, 256);
  const RunConfig one = config_at(staged(), stages[2]);
  EXPECT_EQ(stages_of(one).size(), 1U);
  EXPECT_EQ(one.train.batch_tokens, 1024);
}

// 10 steps of 512, 15 of 512, then of 1024.
TEST(Stages, CountStepsByTheirTokens) {
  RunConfig c = staged();
  EXPECT_EQ(planned_steps(c), 0);
  const auto steps = [&](double tokens, std::int64_t limit = 0) {
    c.train.tokens = tokens;
    c.train.steps = limit;
    return planned_steps(c);
  };
  EXPECT_EQ(steps(1), 1);
  EXPECT_EQ(steps(5120), 10);
  EXPECT_EQ(steps(5121), 11);
  EXPECT_EQ(steps(25 * 512), 25);
  EXPECT_EQ(steps(25 * 512 + 1), 26);
  EXPECT_EQ(steps(25 * 512 + 3 * 1024), 28);
  EXPECT_EQ(steps(25 * 512 + 3 * 1024, 27), 27);
  EXPECT_EQ(steps(25 * 512 + 3 * 1024, 29), 28);
  EXPECT_EQ(steps(0, 40), 40);
  EXPECT_EQ(steps(1e300, 40), 40);
}

std::string config_with(const std::string& stages, const std::string& end = "steps: 50") {
  return "model: {num_hidden_layers: 2, max_position_embeddings: 512}\n"
         "data: {train: [x.txt], sequence_length: 64}\n"
         "train:\n"
         "  batch_tokens: 512\n"
         "  " +
         end +
         "\n"
         "  stages: " +
         stages + "\n";
}

std::string problems_of(const std::string& stages, const std::string& end = "steps: 50") {
  const ConfigFiles files;
  files.write("a.yaml", config_with(stages, end));
  return error_of([&] { load_config("a.yaml", {}, {.needs_data = true}); });
}

TEST(Stages, AreReadAndWrittenBack) {
  const ConfigFiles files;
  files.write("a.yaml", config_with("[{from_step: 10, sequence_length: 128}, "
                                    "{from_step: 20, batch_tokens: 1024, micro_batch: 2}]"));
  const RunConfig c = load_config("a.yaml", {}, {.needs_data = true});
  EXPECT_EQ(c.train.stages, (std::vector<StageSpec>{{10, 128, 0, 0}, {20, 0, 1024, 2}}));
  EXPECT_EQ(parse_config(to_yaml(c), "stored", {}, {.needs_data = true}), c);
  RunConfig other = c;
  other.train.stages[1].from_step = 21;
  EXPECT_THAT(keys_that_change_numbers(c, other), testing::ElementsAre("train.stages"));
}

TEST(Stages, WrongOnesAreNamedWithTheirPlace) {
  EXPECT_EQ(problems_of("[{sequence_length: 128}]"),
            "a.yaml:6:12: train.stages: an entry needs from_step, such as {from_step: 100, "
            "sequence_length: 2048}");
  EXPECT_EQ(problems_of("[{from_step: 5, sequence_lenght: 128}]"),
            "a.yaml:6:27: train.stages.sequence_lenght: unknown key; did you mean "
            "'sequence_length'?");
  EXPECT_THAT(problems_of("[{from_step: 5}, {from_step: 5}]"),
              HasSubstr("a.yaml:6:28: train.stages: from_step 5 follows from_step 5"));
  EXPECT_THAT(problems_of("12"), HasSubstr("give a list"));
  EXPECT_EQ(problems_of("[{from_step: 5, sequence_length: 96}]"),
            "a.yaml:6:11: train.stages: from step 5: batch_tokens 512 is not a multiple of "
            "data.sequence_length 96; use 480");
  EXPECT_EQ(problems_of("[{from_step: 5, sequence_length: 256}]"),
            "a.yaml:6:11: train.stages: from step 5: micro_batch 4 does not divide the 2 sequences "
            "of a step (512 tokens of 256); use 2");
  EXPECT_THAT(problems_of("[{from_step: 5, sequence_length: 1024, batch_tokens: 4096}]"),
              HasSubstr("from step 5: sequence_length 1024 is longer than "
                        "model.max_position_embeddings 512"));
  EXPECT_EQ(problems_of("[{from_step: 50}]"),
            "a.yaml:6:11: train.stages: from_step 50 is never reached: the run ends after 50 "
            "steps; use at most 49");
  EXPECT_EQ(problems_of("[{from_step: 49}]"), "");
  EXPECT_THAT(problems_of("[{from_step: 5, batch_tokens: 2048}, {from_step: 7}]", "tokens: 4096"),
              HasSubstr("the run ends after 6 steps"));
}

}  // namespace
}  // namespace shoal

#include "train/config/batch_sizes.h"

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

TEST(BatchSizes, InheritWhatTheyLeaveOut) {
  const std::vector<BatchSizes> all = sizes_of(staged());
  EXPECT_EQ(all, (std::vector<BatchSizes>{{0, 64, 512, 4}, {10, 128, 512, 2}, {25, 128, 1024, 2}}));
  EXPECT_EQ(all[0].sequences(), 8);
  EXPECT_EQ(all[0].micro_batches(), 2);
  EXPECT_EQ(all[1].micro_batches(), 2);
  EXPECT_EQ(all[2].sequences(), 8);
  EXPECT_EQ(all[2].micro_batches(), 4);
  RunConfig from_the_start = staged();
  from_the_start.train.stages = {{0, 256, 0, 1}};
  EXPECT_EQ(sizes_of(from_the_start), (std::vector<BatchSizes>{{0, 256, 512, 1}}));
}

// 10 steps of 512, 15 of 512, then of 1024.
TEST(BatchSizes, CountStepsByTheirTokens) {
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

std::string problems_of_stages(const std::string& stages, const std::string& end = "steps: 50") {
  const ConfigFiles files;
  files.write("a.yaml", config_with(stages, end));
  return error_of([&] { load_config("a.yaml", {}, {.needs_data = true}); });
}

TEST(BatchSizes, AreReadAndWrittenBack) {
  const ConfigFiles files;
  files.write("a.yaml", config_with("[{from_step: 10, sequence_length: 128}, "
                                    "{from_step: 20, batch_tokens: 1024, micro_batch: 2}]"));
  const RunConfig c = load_config("a.yaml", {}, {.needs_data = true});
  EXPECT_EQ(c.train.stages, (std::vector<SizesSpec>{{10, 128, 0, 0}, {20, 0, 1024, 2}}));
  EXPECT_EQ(parse_config(to_yaml(c), "stored", {}, {.needs_data = true}), c);
  RunConfig other = c;
  other.train.stages[1].from_step = 21;
  EXPECT_THAT(keys_that_change_numbers(c, other), testing::ElementsAre("train.stages"));
}

TEST(BatchSizes, WrongOnesAreNamedWithTheirPlace) {
  EXPECT_EQ(problems_of_stages("[{sequence_length: 128}]"),
            "a.yaml:6:12: train.stages: an entry needs from_step, such as {from_step: 100, "
            "sequence_length: 2048}");
  EXPECT_EQ(problems_of_stages("[{from_step: 5, sequence_lenght: 128}]"),
            "a.yaml:6:27: train.stages.sequence_lenght: unknown key; did you mean "
            "'sequence_length'?");
  EXPECT_THAT(problems_of_stages("[{from_step: 5}, {from_step: 5}]"),
              HasSubstr("a.yaml:6:28: train.stages: from_step 5 follows from_step 5"));
  EXPECT_THAT(problems_of_stages("12"), HasSubstr("give a list"));
  EXPECT_EQ(problems_of_stages("[{from_step: 5, sequence_length: 96}]"),
            "a.yaml:6:11: train.stages: from step 5: batch_tokens 512 is not a multiple of "
            "data.sequence_length 96; use 480");
  EXPECT_EQ(problems_of_stages("[{from_step: 5, sequence_length: 256}]"),
            "a.yaml:6:11: train.stages: from step 5: micro_batch 4 does not divide the 2 sequences "
            "of a step (512 tokens of 256); use 2");
  EXPECT_THAT(problems_of_stages("[{from_step: 5, sequence_length: 1024, batch_tokens: 4096}]"),
              HasSubstr("from step 5: sequence_length 1024 is longer than "
                        "model.max_position_embeddings 512"));
  EXPECT_EQ(problems_of_stages("[{from_step: 50}]"),
            "a.yaml:6:11: train.stages: from_step 50 is never reached: the run ends after 50 "
            "steps; use at most 49");
  EXPECT_EQ(problems_of_stages("[{from_step: 49}]"), "");
  EXPECT_THAT(
      problems_of_stages("[{from_step: 5, batch_tokens: 2048}, {from_step: 7}]", "tokens: 4096"),
      HasSubstr("the run ends after 6 steps"));
}

}  // namespace
}  // namespace shoal

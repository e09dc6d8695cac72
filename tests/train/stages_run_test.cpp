// Runs whose sequences and batches grow on the way.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

// From 3 micro-batches of 2 x 32 to 4 of 1 x 64, to 2 of 4 x 16 and back to long ones.
const std::vector<std::string> kStages = {
    "train.stages=[{from_step: 6, sequence_length: 64, batch_tokens: 256, micro_batch: 1}, "
    "{from_step: 13, sequence_length: 16, batch_tokens: 128, micro_batch: 4}, "
    "{from_step: 19, sequence_length: 48, batch_tokens: 192}]"};

std::vector<std::string> with(std::vector<std::string> settings, const std::string& more) {
  settings.push_back(more);
  return settings;
}

TEST(StagesRun, ChangesTheSizesAtTheStepsThatWereSet) {
  const MicroRun micro;
  micro.train_to_the_end("a", kStages);
  std::int64_t tokens = 0, step = 0;
  for (const std::string& line : lines_of(micro / "a", "step")) {
    tokens += step < 6 ? 192 : step < 13 ? 256 : step < 19 ? 128 : 192;
    ++step;
    EXPECT_EQ(parse_line(line)->at("tokens"), tokens) << step;
  }
  EXPECT_EQ(step, MicroRun::kSteps);
  std::vector<std::string> seen;
  for (const std::string& line : lines_of(micro / "a", "event")) {
    const Json event = *parse_line(line);
    if (event.at("event") != "stage") continue;
    seen.push_back(event.at("step").dump() + ":" + event.at("sequence_length").dump());
  }
  EXPECT_THAT(seen, testing::ElementsAre("6:64", "13:16", "19:48"));
  // What `eval` says of a checkpoint is what the run said there, at the length of its last step.
  const Ended eval = run_program({"eval", micro / "a", "--json"});
  ASSERT_EQ(eval.code, 0) << eval.err;
  Json said = *parse_line(lines_of(micro / "a", "eval").back());
  said.erase("time");
  said.erase("eval_seconds");
  EXPECT_EQ(Json::parse(eval.out), said);
  EXPECT_THAT(run_program(with(micro.train_arguments("x", kStages), "--dry-run")).out,
              HasSubstr("4 micro-batches of 1 sequences of 64"));
}

// 5, 6 and 7 lie around a border; 20 comes after the last one.
TEST(StagesRun, HasEqualBitsWhenResumedAroundABorder) {
  const MicroRun micro;
  const std::vector<std::string> settings = with(kStages, "optim.decay_share=0");
  micro.train_to_the_end("whole", settings, {.threads = 2});
  std::vector<std::string> shorter = with(settings, "checkpoint.every_steps=1");
  shorter.emplace_back("checkpoint.keep=100");
  micro.train_to_the_end("parts", shorter);
  EXPECT_EQ(numbers_of(micro / "parts"), numbers_of(micro / "whole"));
  for (const int step : {20, 13, 12, 7, 6, 5}) {
    const Ended ended = run_program({"resume", micro / "parts", concat("checkpoint.step=", step)},
                                    {.threads = 1 + step % 3});
    ASSERT_EQ(ended.code, 0) << ended.err;
    EXPECT_EQ(numbers_of(micro / "parts"), numbers_of(micro / "whole")) << step;
    EXPECT_EQ(state_of(micro / "parts"), state_of(micro / "whole")) << step;
  }
}

// The control of an ablation: indexers that are never taught. In the warm-up stage nothing is.
TEST(StagesRun, WarmUpWithoutTheIndexersLossLearnsNothing) {
  const MicroRun micro;
  micro.train_to_the_end("a", {"model.layer_types=[compressed_sparse_attention, sliding_attention]",
                               "model.index_head_dim=8", "model.index_topk=2", "loss.index_kl=0",
                               "indexer.stage=[{stage: dense}, {stage: warmup, from_step: 5}, "
                               "{stage: sparse, from_step: 9}]"});
  int step = 0;
  for (const std::string& line : lines_of(micro / "a", "step")) {
    const double norm = parse_line(line)->at("grad_norm").get<double>();
    if (step >= 5 && step < 9) {
      EXPECT_EQ(norm, 0.0) << step;
    } else {
      EXPECT_GT(norm, 0.0) << step;
    }
    ++step;
  }
}

TEST(StagesRun, AnIndexerStageBeyondTheEndIsSaid) {
  const MicroRun micro;
  for (const bool beyond : {false, true}) {
    const std::string stages = concat("indexer.stage=[{stage: dense}, {stage: sparse, from_step: ",
                                      MicroRun::kSteps - (beyond ? 0 : 1), "}]");
    const Ended ended = micro.train("a", {stages, "--dry-run"});
    EXPECT_EQ(ended.code, 0) << ended.err;
    const std::string said =
        "indexer.stage: sparse from step 24 is never reached: the run ends after 24 steps";
    EXPECT_EQ(ended.err.find(said) != std::string::npos, beyond) << ended.err;
  }
}

// The memory of the largest stage is taken at the start: a run of it alone asks for as much.
TEST(StagesRun, TakesTheMemoryOfTheLargestStage) {
  const MicroRun micro;
  const auto memory_of = [&](const std::vector<std::string>& settings) {
    const std::string out =
        run_program(with(micro.train_arguments("x", settings), "--dry-run")).out;
    const std::size_t at = out.find("  activations (arena)");
    return out.substr(at, out.find("checkpoint", at) - at);
  };
  const std::string large = "data.sequence_length=512";
  const std::vector<std::string> alone = {"model.max_position_embeddings=512",
                                          "data.sequence_length=512", "train.batch_tokens=1024"};
  const std::vector<std::string> staged = {
      "model.max_position_embeddings=512",
      "train.stages=[{from_step: 3, sequence_length: 512, batch_tokens: 1024}, {from_step: 5, "
      "sequence_length: 32}]"};
  EXPECT_EQ(memory_of(staged), memory_of(alone));
  EXPECT_NE(memory_of({}), memory_of(alone));
}

TEST(StagesRun, OfATaskHasToFitEveryStage) {
  const MicroRun micro;
  const Ended ended = micro.train("a", {"data.train=[{task: needle, max_distance: 18}]",
                                        "train.stages=[{from_step: 2, sequence_length: 16}]"});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.err, HasSubstr("max_distance: 18 does not fit in sequences of 16"));
  micro.train_to_the_end(
      "b", {"data.train=[{task: needle}]", "train.stages=[{from_step: 2, sequence_length: 16}]"});
}

}  // namespace
}  // namespace shoal

// The same configuration gives the same bits, whatever the threads, the memory plan and the
// interruptions.
#include <gmock/gmock.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "tests/support/micro_run.h"
#include "train/metrics/records.h"

namespace shoal {
namespace {

TEST(EqualBits, ForAnyNumberOfThreads) {
  const MicroRun micro;
  micro.train_to_the_end("1", {}, {.threads = 1});
  for (const int threads : {2, 3, 4}) {
    const std::string name = std::to_string(threads);
    micro.train_to_the_end(name, {}, {.threads = threads});
    expect_equal_runs(micro / name, micro / "1");
  }
}

// The comparison itself sees a difference: another seed, one step less.
TEST(EqualBits, AreNotThoseOfAnotherRun) {
  const MicroRun micro;
  micro.train_to_the_end("a");
  micro.train_to_the_end("b", {"run.seed=4"});
  EXPECT_NE(numbers_of(micro / "a"), numbers_of(micro / "b"));
  const auto a = state_of(micro / "a"), b = state_of(micro / "b");
  EXPECT_NE(a.at("/model/layers/0/attn/wq_a/weight"), b.at("/model/layers/0/attn/wq_a/weight"));
  EXPECT_EQ(a.count("/state/samples"), 1U);
  const bool has_momentum = std::any_of(a.begin(), a.end(), [](const auto& entry) {
    return entry.first.starts_with("/optimizer/") && entry.first.ends_with("/momentum");
  });
  EXPECT_TRUE(has_momentum);
  EXPECT_EQ(lines_of(micro / "a", "eval").size(), 4U);    // steps 7, 14, 21 and the last
  EXPECT_EQ(lines_of(micro / "a", "layer").size(), 24U);  // 3 blocks, every third step
}

TEST(EqualBits, WhenBlocksAreRecomputed) {
  const MicroRun micro;
  micro.train_to_the_end("kept");
  micro.train_to_the_end("again", {"train.recompute=block"}, {.threads = 2});
  expect_equal_runs(micro / "again", micro / "kept");
}

// What is measured changes nothing, and does not depend on how often.
TEST(EqualBits, HoweverOftenTheRunIsLookedAt) {
  const MicroRun micro;
  micro.train_to_the_end("always", {"log.every=1"});
  micro.train_to_the_end("now and then");
  micro.train_to_the_end("never", {"log.every=1000"});
  const auto of_kind = [&](const std::string& run, const std::string& kind, std::int64_t every) {
    std::vector<std::string> lines;
    for (const std::string& line : numbers_of(micro / run)) {
      const Json object = *parse_line(line);
      if (object.at("kind") == kind && object.at("step").get<std::int64_t>() % every == 0) {
        lines.push_back(line);
      }
    }
    return lines;
  };
  for (const char* run : {"now and then", "never"}) {
    EXPECT_TRUE(state_of(micro / run) == state_of(micro / "always")) << run;
    for (const char* kind : {"step", "eval"}) {
      EXPECT_EQ(of_kind(run, kind, 1), of_kind("always", kind, 1)) << run;
    }
  }
  for (const char* kind : {"layer", "group"}) {
    EXPECT_EQ(of_kind("now and then", kind, 1), of_kind("always", kind, 3));
    EXPECT_THAT(of_kind("never", kind, 1), testing::IsEmpty());
  }
  EXPECT_EQ(of_kind("always", "group", 24).size(),
            9U);  // no compressor, no indexer, no dense layer
}

// 1 to 7 micro-batches are added in a tree that need not be full.
TEST(EqualBits, ForAnyNumberOfMicroBatches) {
  const MicroRun micro;
  for (const int sequences : {1, 5, 7}) {
    const std::vector<std::string> settings = {"train.steps=6", "train.micro_batch=1",
                                               concat("train.batch_tokens=", 32 * sequences)};
    const std::string one = concat("one", sequences), three = concat("three", sequences);
    micro.train_to_the_end(one, settings, {.threads = 1});
    micro.train_to_the_end(three, settings, {.threads = 3});
    EXPECT_EQ(numbers_of(micro / one), numbers_of(micro / three)) << sequences;
    EXPECT_EQ(state_of(micro / one), state_of(micro / three)) << sequences;
  }
}

// Starts or resumes the run, stops it once it has written `step`, and says where it stopped; 0 if
// it came to its end instead.
std::int64_t stop_at(const MicroRun& micro, const std::string& run, std::int64_t step, int signal,
                     const std::vector<std::string>& overrides = {}) {
  const bool there = !checkpoints_of(micro / run).empty();
  Program program(there ? std::vector<std::string>{"resume", micro / run}
                        : micro.train_arguments(run, overrides),
                  {.threads = 2});
  wait_until(program, [&] { return last_step(micro / run) >= step; });
  program.signal(signal);
  const Ended ended = program.wait();
  if (ended.code == 0) return 0;
  EXPECT_EQ(ended.code, 75) << ended.err;
  const std::int64_t stopped = checkpoints_of(micro / run).back();
  EXPECT_EQ(stopped, last_step(micro / run)) << "saved is the last finished step";
  EXPECT_THAT(ended.last_line(), testing::HasSubstr(concat("after step ", stopped)));
  return stopped;
}

TEST(EqualBits, StoppedAndResumedAtManySteps) {
  const MicroRun micro;
  micro.train_to_the_end("undisturbed");
  std::vector<std::int64_t> stops;
  const int signals[] = {SIGTERM, SIGUSR1, SIGINT};
  for (std::int64_t step = 1; step < MicroRun::kSteps;) {
    const std::int64_t stopped =
        stop_at(micro, "stopped", step, signals[stops.size() % std::size(signals)]);
    if (stopped == 0) break;
    stops.push_back(stopped);
    step = stopped + 2;
  }
  const Ended ended = run_program({"resume", micro / "stopped"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  expect_equal_runs(micro / "stopped", micro / "undisturbed");
  // It did stop: in the warm-up, near an end of an epoch, in the decay.
  EXPECT_GE(stops.size(), 4U) << testing::PrintToString(stops);
  EXPECT_LE(stops.front(), 6);
  EXPECT_GE(stops.back(), 17);
}

// Compressed layers whose indexers go through all of their stages, stopped in each.
TEST(EqualBits, OfAHybridModelThroughTheStagesOfItsIndexers) {
  const MicroRun micro;
  const std::vector<std::string> settings{
      "model.layer_types=[compressed_sparse_attention, heavily_compressed_attention]",
      "model.compress_rates.heavily_compressed_attention=8",
      "model.index_head_dim=8",
      "model.index_topk=2",
      "loss.index_kl=0.5",
      "indexer.stage=[{stage: dense}, {stage: warmup, from_step: 8}, {stage: sparse, from_step: "
      "14}]"};
  micro.train_to_the_end("undisturbed", settings, {.threads = 1});
  std::vector<std::string> recomputed = settings;
  recomputed.emplace_back("train.recompute=block");
  micro.train_to_the_end("recomputed", recomputed, {.threads = 3});
  expect_equal_runs(micro / "recomputed", micro / "undisturbed");
  for (const std::int64_t step : {4, 9, 16}) {
    stop_at(micro, "stopped", step, SIGTERM, settings);
  }
  const Ended ended = run_program({"resume", micro / "stopped"});
  ASSERT_EQ(ended.code, 0) << ended.err;
  expect_equal_runs(micro / "stopped", micro / "undisturbed");
  for (const std::string& line : lines_of(micro / "undisturbed", "step")) {
    const StepRecord record = *step_of(*parse_line(line));
    EXPECT_EQ(record.index_kl > 0.0, record.step > 8) << record.step;
    EXPECT_EQ(record.loss, record.ce + record.mtp + record.balance + record.index_kl);
  }
}

}  // namespace
}  // namespace shoal

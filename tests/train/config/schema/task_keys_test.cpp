#include "train/config/schema/task_keys.h"

#include <gmock/gmock.h>

#include "tests/train/config/config_files.h"
#include "train/config/load_config.h"
#include "train/config/show_config.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

std::string config_with(const std::string& data) {
  return "model: {num_hidden_layers: 2, num_nextn_predict_layers: 0}\n"
         "train: {steps: 5, batch_tokens: 512, micro_batch: 1}\n"
         "data:\n"
         "  sequence_length: 64\n" +
         data;
}

std::string problems_of_data(const std::string& data,
                             const std::vector<std::string>& overrides = {}) {
  const ConfigFiles files;
  files.write("a.yaml", config_with(data));
  return error_of([&] { load_config("a.yaml", overrides, {.needs_data = true}); });
}

TEST(TaskKeys, AreReadAndWrittenBack) {
  const ConfigFiles files;
  files.write("a.yaml",
              config_with("  train: [{task: needle, pairs: 3, max_distance: 40, haystack: h.txt,\n"
                          "           loss_on: answer}]\n"
                          "  validation:\n"
                          "    - {task: mqar, queries: 2, episodes: 16}\n"));
  const RunConfig c = load_config("a.yaml", {}, {.needs_data = true});
  TaskConfig needle = default_task(TaskKind::kNeedle);
  needle.pairs = 3;
  needle.max_distance = 40;
  needle.haystack = files.path("h.txt");
  needle.loss_on_answer = true;
  EXPECT_EQ(c.data.train.at(0).task, needle);
  TaskConfig mqar = default_task(TaskKind::kMqar);
  mqar.queries = 2;
  mqar.episodes = 16;
  EXPECT_EQ(c.data.validation_files.at(0).task, mqar);
  EXPECT_EQ(parse_config(to_yaml(c), "stored", {}, {.needs_data = true}), c);
  RunConfig other = c;
  other.data.train[0].task->pairs = 4;
  EXPECT_THAT(keys_that_change_numbers(c, other), testing::ElementsAre("data.train"));
}

TEST(TaskKeys, WrongOnesAreNamedWithTheirPlace) {
  EXPECT_EQ(problems_of_data("  train: [{task: nedle}]\n"),
            "a.yaml:5:18: data.train.task: 'nedle' is not known; did you mean 'needle'?");
  EXPECT_EQ(problems_of_data("  train: [{task: copy, lenght: 3}]\n"),
            "a.yaml:5:24: data.train.lenght: no key of task copy; did you mean 'length'?");
  EXPECT_EQ(problems_of_data("  train: [{task: copy, key_length: 3}]\n"),
            "a.yaml:5:24: data.train.key_length: no key of task copy; known here: task, length, "
            "episodes, loss_on");
  EXPECT_EQ(problems_of_data("  train: [{task: mqar, pairs: 0}]\n"),
            "a.yaml:5:31: data.train.pairs: 0 is out of range; give a whole number from 1 to "
            "1000000");
  EXPECT_EQ(problems_of_data("  train: [{task: mqar, loss_on: answers}]\n"),
            "a.yaml:5:33: data.train.loss_on: 'answers' is not known; did you mean 'answer'?");
  EXPECT_EQ(problems_of_data("  train: [x.txt, {task: copy}]\n"),
            "a.yaml:5:18: data.train: a task cannot be mixed with other data; let it stand alone");
}

TEST(TaskKeys, WhatDoesNotFitTheRunIsRefused) {
  EXPECT_EQ(problems_of_data("  train: [{task: needle, max_distance: 60}]\n"),
            "a.yaml:5:10: data.train: needle: max_distance: 60 does not fit in sequences of 64; "
            "use at most 52");
  EXPECT_EQ(problems_of_data("  train: [{task: needle, max_distance: 60}]\n",
                             {"data.sequence_length=128", "train.batch_tokens=256"}),
            "");
  EXPECT_THAT(
      problems_of_data("  train: [{task: copy}]\n  validation: [{task: copy, length: 40}]\n"),
      HasSubstr("a.yaml:6:15: data.validation: copy: length: 40 letters twice"));
  EXPECT_THAT(problems_of_data("  train: [{task: copy}]\n  validation: [x.txt]\n"),
              HasSubstr("a.yaml:6:15: data.validation: text cannot validate a task"));
  EXPECT_THAT(problems_of_data("  train: [x.txt]\n  validation: [{task: copy}]\n"),
              HasSubstr("data.validation: text cannot validate a task, nor a task text; use text"));
  EXPECT_THAT(problems_of_data("  tokenizer: other\n  train: [{task: copy}]\n"),
              HasSubstr("a.yaml:5:14: data.tokenizer: task copy is made of bytes"));
}

}  // namespace
}  // namespace shoal

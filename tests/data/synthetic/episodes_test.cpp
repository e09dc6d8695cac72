#include "data/synthetic/episodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <regex>
#include <set>

#include "data/dataset.h"
#include "data/tokenizer/bytes.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TaskConfig task_of(TaskKind kind) { return default_task(kind); }

Batch batch_of(const Dataset& data, std::int64_t begin, std::int64_t count) {
  std::vector<std::int64_t> samples(static_cast<std::size_t>(count));
  std::iota(samples.begin(), samples.end(), begin);
  Batch batch;
  data.fill(samples, batch);
  return batch;
}

char shown(std::int32_t id) { return id == 0 ? '^' : static_cast<char>(id - 2); }

// The T + 1 tokens of a sequence, whose targets have to be its inputs shifted by one.
std::string text_of(const Batch& batch, std::int64_t b) {
  std::string text;
  for (std::int64_t t = 0; t < batch.T; ++t) {
    const auto n = static_cast<std::size_t>(b * batch.T + t);
    EXPECT_EQ(batch.first[n], b * batch.T);
    EXPECT_FALSE(batch.is_padding(static_cast<std::int64_t>(n)));
    EXPECT_EQ(batch.tokens[n], t > 0 ? batch.targets[n - 1] : 0);
    text += shown(batch.tokens[n]);
  }
  return text + shown(batch.targets[static_cast<std::size_t>((b + 1) * batch.T - 1)]);
}

// What the answer rows of a sequence have to predict.
std::string answer_of(const Batch& batch, std::int64_t b) {
  std::string text;
  for (std::int64_t n = b * batch.T; n < (b + 1) * batch.T; ++n) {
    if (batch.is_answer(n)) text += shown(batch.targets[static_cast<std::size_t>(n)]);
  }
  return text;
}

std::vector<std::string> texts_of(const TaskConfig& task, std::int64_t T, std::uint64_t seed,
                                  bool held_out, std::int64_t count) {
  const Batch batch = batch_of(Dataset(task, T, seed, held_out), 0, count);
  std::vector<std::string> texts;
  for (std::int64_t b = 0; b < count; ++b) texts.push_back(text_of(batch, b));
  return texts;
}

struct Pair {
  std::string key, value;
  std::int64_t begin, end;
};
std::vector<Pair> pairs_in(const std::string& text) {
  static const std::regex kPair("#([A-Z]+)=([0-9]+)");
  std::vector<Pair> pairs;
  for (auto at = std::sregex_iterator(text.begin(), text.end(), kPair);
       at != std::sregex_iterator(); ++at) {
    pairs.push_back({(*at)[1], (*at)[2], at->position(), at->position() + at->length()});
  }
  return pairs;
}

// A needle's episode: pairs of different keys, one of which the end repeats.
TEST(Episodes, OfANeedleAskForAPairAtTheDistancesThatWereSet) {
  TaskConfig task = task_of(TaskKind::kNeedle);
  task.pairs = 3;
  task.value_length = 4;
  task.min_distance = 20;
  task.max_distance = 70;
  const std::int64_t T = 120, episodes = 2000;
  const Dataset data(task, T, 1, false);
  const Batch batch = batch_of(data, 0, episodes);
  std::set<std::int64_t> distances, asked;
  for (std::int64_t b = 0; b < episodes; ++b) {
    const std::string text = text_of(batch, b);
    const std::vector<Pair> found = pairs_in(text);
    ASSERT_EQ(found.size(), 4U) << text;
    EXPECT_EQ(found.back().end, T + 1) << text;
    EXPECT_EQ(answer_of(batch, b), found.back().value) << text;
    std::set<std::string> keys;
    for (std::size_t i = 0; i < 3; ++i) {
      keys.insert(found[i].key);
      EXPECT_EQ(found[i].key.size() + found[i].value.size(), 6U) << text;
      const std::int64_t distance = found.back().begin - found[i].end;
      EXPECT_GE(distance, 20) << text;
      EXPECT_LE(distance, 70) << text;
      if (found[i].key != found.back().key) continue;
      EXPECT_EQ(found[i].value, found.back().value) << text;
      distances.insert(distance);
      asked.insert(static_cast<std::int64_t>(i));
    }
    EXPECT_EQ(keys.size(), 3U) << text;
    EXPECT_EQ(keys.count(found.back().key), 1U) << text;
  }
  EXPECT_EQ(asked.size(), 3U);
  EXPECT_EQ(*distances.begin(), 20);
  EXPECT_GE(*distances.rbegin(), 68);  // three stretches of 19 each, from the near end
  EXPECT_GT(distances.size(), 30U);
}

TEST(Episodes, OfMqarAskForEveryPairOnce) {
  TaskConfig task = task_of(TaskKind::kMqar);
  task.pairs = 7;
  task.queries = 5;
  for (const std::string& text : texts_of(task, 64, 3, false, 300)) {
    const std::vector<Pair> found = pairs_in(text);
    ASSERT_EQ(found.size(), 12U) << text;
    EXPECT_EQ(found.front().begin, 1) << text;
    EXPECT_EQ(found.back().end, 65) << text;
    std::map<std::string, std::string> said;
    for (int i = 0; i < 7; ++i) said[found[i].key] = found[i].value;
    EXPECT_EQ(said.size(), 7U) << text;
    std::set<std::string> asked;
    for (int i = 7; i < 12; ++i) {
      EXPECT_EQ(said[found[i].key], found[i].value) << text;
      asked.insert(found[i].key);
    }
    EXPECT_EQ(asked.size(), 5U) << text;
  }
  const Batch batch = batch_of(Dataset(task, 64, 3, false), 0, 1);
  std::string answers;
  for (const Pair& pair : pairs_in(text_of(batch, 0))) answers += pair.value;
  EXPECT_EQ(answer_of(batch, 0), answers.substr(7));
}

TEST(Episodes, OfCopyRepeatAString) {
  TaskConfig task = task_of(TaskKind::kCopy);
  const std::regex whole("\\^[a-z ]?#([A-Z]+)=([A-Z]+)");
  for (const std::int64_t T : {10, 11, 64}) {
    const Batch batch = batch_of(Dataset(task, T, 1, false), 0, 50);
    for (std::int64_t b = 0; b < 50; ++b) {
      const std::string text = text_of(batch, b);
      std::smatch parts;
      ASSERT_TRUE(std::regex_match(text, parts, whole)) << text;
      EXPECT_EQ(parts[1], parts[2]) << text;
      EXPECT_EQ(parts[1].length(), (T - 2) / 2);
      EXPECT_EQ(answer_of(batch, b), parts[2]);
    }
  }
  task.length = 5;
  EXPECT_TRUE(std::regex_match(texts_of(task, 40, 1, false, 1)[0],
                               std::regex("\\^[a-z ]{28}#[A-Z]{5}=[A-Z]{5}")));
}

// Whatever the order, the batch and what lies in its buffers.
TEST(Episodes, AreAFunctionOfSeedSideAndIndex) {
  TaskConfig task = task_of(TaskKind::kNeedle);
  const std::vector<std::string> texts = texts_of(task, 48, 5, false, 20);
  const Dataset data(task, 48, 5, false);
  Batch batch = batch_of(Dataset(task_of(TaskKind::kCopy), 48, 1, false), 7, 3);
  for (const std::int64_t index : {19, 3, 0, 11}) {
    data.fill({{index, 4, index}}, batch);
    EXPECT_EQ(text_of(batch, 0), texts[static_cast<std::size_t>(index)]);
    EXPECT_EQ(text_of(batch, 1), texts[4]);
    EXPECT_EQ(text_of(batch, 2), texts[static_cast<std::size_t>(index)]);
  }
  EXPECT_EQ(std::set<std::string>(texts.begin(), texts.end()).size(), texts.size());
  EXPECT_NE(texts_of(task, 48, 6, false, 20), texts);
  EXPECT_NE(texts_of(task, 48, 5, true, 20), texts);
}

// Of what there is to ask: with a key of one letter and a value of one digit there are 260 pairs,
// at one distance, and every one of them is seen.
TEST(Episodes, HeldOutOnesAreNeverTrainedOnForAnySeed) {
  TaskConfig task = task_of(TaskKind::kNeedle);
  task.key_length = task.value_length = 1;
  const std::int64_t T = 8;  // no room for filler
  std::set<std::string> trained, held_out;
  for (const std::uint64_t seed : {0, 1, 2}) {
    for (const std::string& text : texts_of(task, T, seed, false, 2000)) trained.insert(text);
  }
  for (const std::string& text : texts_of(task, T, 0, true, 400)) held_out.insert(text);
  EXPECT_EQ(trained.size() + held_out.size(), 260U);
  EXPECT_NEAR(static_cast<double>(held_out.size()), 260.0 / 8.0, 15.0);
  for (const std::string& text : held_out) EXPECT_EQ(trained.count(text), 0U) << text;
}

// None of the 26 letters happens to fall on the held-out side; of two letters enough do.
TEST(Episodes, WithTooLittleToHoldAnythingOutAreRefused) {
  TaskConfig task = task_of(TaskKind::kCopy);
  task.length = 1;
  EXPECT_NO_THROW(Dataset(task, 32, 1, false));
  EXPECT_THROW(Dataset(task, 32, 1, true), Error);
  task.length = 2;
  EXPECT_NO_THROW(Dataset(task, 32, 1, true));
}

// The context still is no padding, and the answers are where they were.
TEST(Episodes, CountOnlyAnswersWhereThatIsAskedFor) {
  TaskConfig task = task_of(TaskKind::kMqar);
  const Batch all = batch_of(Dataset(task, 90, 1, false), 0, 4);
  task.loss_on_answer = true;
  const Batch answer = batch_of(Dataset(task, 90, 1, false), 0, 4);
  EXPECT_EQ(answer.tokens, all.tokens);
  EXPECT_EQ(answer.roles, all.roles);
  std::int64_t counted = 0;
  for (std::int64_t n = 0; n < all.rows(); ++n) {
    const auto i = static_cast<std::size_t>(n);
    EXPECT_EQ(answer.targets[i], all.is_answer(n) ? all.targets[i] : -1);
    EXPECT_EQ(answer.next_token(n), all.targets[i]);  // MTP reads also what does not count
    EXPECT_FALSE(answer.is_padding(n));
    counted += answer.targets[i] >= 0 ? 1 : 0;
  }
  EXPECT_EQ(counted, 4 * 8);
}

TEST(Episodes, InOrderEndInPadding) {
  TaskConfig task = task_of(TaskKind::kCopy);
  task.episodes = 3;
  const Dataset data(task, 16, 1, true);
  EXPECT_EQ(data.sequences(), 3);
  Batch batch;
  data.fill_in_order(2, 2, batch);
  EXPECT_EQ(text_of(batch, 0), texts_of(task, 16, 1, true, 3)[2]);
  for (std::int64_t n = 16; n < 32; ++n) {
    EXPECT_TRUE(batch.is_padding(n));
    EXPECT_EQ(batch.targets[static_cast<std::size_t>(n)], -1);
  }
  EXPECT_EQ(data.batch_text_bytes(batch), 0);
  const std::vector<std::int64_t> counts = data.token_counts();
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), 3 * 16);
  EXPECT_EQ(counts.at(ByteTokenizer::kFirstByte + '#'), 3);
}

TEST(Episodes, TakeTheirFillerFromAText) {
  const TemporaryFolder folder;
  const std::string hay = "It was the best of times, it was the worst of times. ";
  TaskConfig task = task_of(TaskKind::kNeedle);
  task.haystack = folder.write("hay.txt", hay);
  const std::string around = hay + hay + hay + hay;
  std::set<std::string> beginnings;
  for (const std::string& text : texts_of(task, 100, 1, false, 50)) {
    const std::vector<Pair> found = pairs_in(text);
    ASSERT_EQ(found.size(), 2U) << text;
    EXPECT_THAT(around, HasSubstr(text.substr(1, static_cast<std::size_t>(found[0].begin - 1))));
    EXPECT_THAT(around,
                HasSubstr(text.substr(static_cast<std::size_t>(found[0].end),
                                      static_cast<std::size_t>(found[1].begin - found[0].end))));
    beginnings.insert(text.substr(0, 12));
  }
  EXPECT_GT(beginnings.size(), 10U);
  const std::string before = Dataset(task, 100, 1, false).fingerprint();
  folder.write("hay.txt", hay + "?");
  EXPECT_NE(Dataset(task, 100, 1, false).fingerprint(), before);
  folder.write("hay.txt", std::string("\x1F\x8B\x08\0\xE9", 5));
  EXPECT_THAT(message_of(Failure::kData, [&] { Dataset(task, 100, 1, false); }),
              HasSubstr("hay.txt: is compressed with gzip"));
  folder.write("hay.txt", "");
  EXPECT_THROW(Dataset(task, 100, 1, false), Error);
}

TEST(Task, SaysWhatDoesNotFit) {
  const auto problem = [](TaskConfig task, std::int64_t T) {
    const std::vector<TaskProblem> found = find_problems(task, T);
    return found.empty() ? "" : found[0].key + ": " + found[0].what;
  };
  TaskConfig needle = task_of(TaskKind::kNeedle);
  EXPECT_EQ(problem(needle, 12), "");
  EXPECT_THAT(problem(needle, 11), HasSubstr("need 12"));
  needle.max_distance = 101;
  EXPECT_EQ(problem(needle, 113), "");
  EXPECT_EQ(problem(needle, 112),
            "max_distance: 101 does not fit in sequences of 112; use at most 100");
  needle.min_distance = 102;
  EXPECT_THAT(problem(needle, 200), HasSubstr("min_distance: 102 is beyond"));
  needle.min_distance = 90;
  needle.pairs = 3;
  EXPECT_THAT(problem(needle, 200), HasSubstr("use at most 2"));
  needle.pairs = 2;
  EXPECT_EQ(problem(needle, 200), "");
  TaskConfig mqar = task_of(TaskKind::kMqar);
  EXPECT_EQ(problem(mqar, 64), "");
  EXPECT_THAT(problem(mqar, 63), HasSubstr("need 64"));
  mqar.queries = 9;
  EXPECT_THAT(problem(mqar, 640), HasSubstr("queries: 9"));
  mqar.pairs = 27;
  EXPECT_THAT(problem(mqar, 640), HasSubstr("there are 26 of key_length 1"));
  TaskConfig copy = task_of(TaskKind::kCopy);
  EXPECT_THAT(problem(copy, 3), HasSubstr("4 tokens or more"));
  copy.length = 32;
  EXPECT_THAT(problem(copy, 64), HasSubstr("use at most 31"));
}

}  // namespace
}  // namespace shoal

#include "data/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "autograd/base/check.h"
#include "data/tokenizer/bytes.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;

std::set<std::string> held_out(const std::vector<std::string>& texts, double share) {
  const ByteTokenizer tokenizer;
  Documents documents;
  for (const std::string& text : texts) documents.add(text, tokenizer);
  std::set<std::string> out;
  const Split split = hold_out(documents, tokenizer, share);
  EXPECT_EQ(split.train.size() + split.validation.size(), texts.size());
  for (const std::int64_t d : split.validation) {
    out.insert(tokenizer.decode(documents.document(d)));
  }
  for (const std::int64_t d : split.train) {
    EXPECT_EQ(out.count(tokenizer.decode(documents.document(d))), 0U) << "on both sides";
  }
  return out;
}

std::vector<std::string> numbered(int count) {
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) texts.push_back(concat("text ", i));
  return texts;
}

TEST(HoldOut, TakesItsShareWhateverTheOrder) {
  std::vector<std::string> texts = numbered(200);
  const auto out = held_out(texts, 0.1);
  EXPECT_EQ(out.size(), 20U);
  std::reverse(texts.begin(), texts.end());
  EXPECT_EQ(held_out(texts, 0.1), out);
  std::rotate(texts.begin(), texts.begin() + 77, texts.end());
  EXPECT_EQ(held_out(texts, 0.1), out);
  // A larger share holds out the same documents and more.
  const auto more = held_out(texts, 0.3);
  EXPECT_TRUE(std::includes(more.begin(), more.end(), out.begin(), out.end()));
}

TEST(HoldOut, KeepsCopiesTogether) {
  std::vector<std::string> texts = numbered(20);
  for (int copies = 0; copies < 3; ++copies) {
    for (int i = 0; i < 20; ++i) texts.push_back(concat("text ", i));
  }
  for (const double share : {0.02, 0.1, 0.33}) held_out(texts, share);  // checks inside
}

TEST(HoldOut, RefusesAShareThatLeavesNothing) {
  EXPECT_TRUE(held_out(numbered(3), 0.0).empty());
  EXPECT_EQ(held_out(numbered(10), 0.05).size(), 1U);
  const auto refusal = [](int count, double share) {
    return message_of(Failure::kData, [&] { held_out(numbered(count), share); });
  };
  EXPECT_THAT(
      refusal(1, 0.05),
      HasSubstr("data.validation: a share of 0.05 of 1 document leaves nothing to validate"));
  EXPECT_THAT(refusal(9, 0.05), HasSubstr("9 documents leaves nothing to validate on"));
  EXPECT_THAT(refusal(9, 0.99), HasSubstr("leaves nothing to train on"));
}

}  // namespace
}  // namespace shoal

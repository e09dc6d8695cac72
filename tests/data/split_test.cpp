#include "data/split.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "autograd/base/check.h"
#include "data/tokenizer/bytes.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::set<std::string> held_out(const std::vector<std::string>& texts, double share) {
  const ByteTokenizer tokenizer;
  Documents documents;
  for (const std::string& text : texts) documents.add(text, tokenizer);
  std::set<std::string> out;
  const Split split = hold_out(hash_texts(documents, tokenizer), share);
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

TEST(HoldOut, TakesAboutItsShareWhateverTheOrder) {
  std::vector<std::string> texts = numbered(2000);
  const auto out = held_out(texts, 0.1);
  EXPECT_NEAR(static_cast<double>(out.size()), 200.0, 40.0);  // three standard deviations
  std::reverse(texts.begin(), texts.end());
  EXPECT_EQ(held_out(texts, 0.1), out);
  std::rotate(texts.begin(), texts.begin() + 77, texts.end());
  EXPECT_EQ(held_out(texts, 0.1), out);
  // A larger share holds out the same documents and more.
  const auto more = held_out(texts, 0.3);
  EXPECT_TRUE(std::includes(more.begin(), more.end(), out.begin(), out.end()));
}

TEST(HoldOut, NoDocumentChangesSidesWhenOthersComeOrGo) {
  const std::vector<std::string> all = numbered(300);
  const auto of_all = held_out(all, 0.2);
  for (const std::size_t count : {50U, 100U, 299U}) {
    for (const std::size_t begin : {std::size_t{0}, all.size() - count}) {
      const auto from = all.begin() + static_cast<std::ptrdiff_t>(begin);
      const std::vector<std::string> some(from, from + static_cast<std::ptrdiff_t>(count));
      std::set<std::string> want;
      for (const std::string& text : some) {
        if (of_all.contains(text)) want.insert(text);
      }
      EXPECT_EQ(held_out(some, 0.2), want);
    }
  }
}

// For ever and on every machine: a run that goes on elsewhere must not learn what was held out.
TEST(HoldOut, TheSplitOfTheseTextsNeverChanges) {
  EXPECT_EQ(held_out(numbered(40), 0.1),
            (std::set<std::string>{"text 12", "text 30", "text 33", "text 34"}));
}

TEST(HoldOut, SaysWhereCopiesSkewTheShare) {
  const ByteTokenizer tokenizer;
  const auto skew = [&](const std::vector<std::string>& texts, double share) {
    Documents documents;
    for (const std::string& text : texts) documents.add(text, tokenizer);
    const std::vector<std::uint64_t> hashes = hash_texts(documents, tokenizer);
    return skew_by_copies(hashes, hold_out(hashes, share), share);
  };
  std::vector<std::string> texts = numbered(100);
  EXPECT_EQ(skew(texts, 0.1), "");
  const std::string held = *held_out(texts, 0.1).begin();
  texts.insert(texts.end(), 60, held);
  EXPECT_THAT(skew(texts, 0.1), AllOf(HasSubstr("of 160 documents"), HasSubstr("10% was asked"),
                                      HasSubstr("60 are copies")));
  // On the other side they take documents away from the validation.
  texts = numbered(100);
  std::string trained;
  for (const std::string& text : texts) {
    if (!held_out(texts, 0.1).contains(text)) trained = text;
  }
  texts.insert(texts.end(), 300, trained);
  EXPECT_THAT(skew(texts, 0.1), HasSubstr("300 are copies"));
  EXPECT_EQ(skew(numbered(1), 0.0), "");
}

TEST(HoldOut, KeepsCopiesTogether) {
  std::vector<std::string> texts = numbered(20);
  for (int copies = 0; copies < 3; ++copies) {
    for (int i = 0; i < 20; ++i) texts.push_back(concat("text ", i));
  }
  for (const double share : {0.02, 0.1, 0.33}) held_out(texts, share);  // checks inside
}

TEST(HoldOut, RefusesAShareThatLeavesNothingAndNamesOneThatWorks) {
  EXPECT_TRUE(held_out(numbered(3), 0.0).empty());
  const auto refusal = [](const std::vector<std::string>& texts, double share) {
    return message_of(Failure::kData, [&] { held_out(texts, share); });
  };
  const auto named_share = [](const std::string& message) {
    const std::string before = "a share of ";
    return std::stod(message.substr(message.rfind(before) + before.size()));
  };
  for (const int count : {2, 5, 30}) {
    const std::vector<std::string> texts = numbered(count);
    const std::string none = refusal(texts, 1e-9);
    EXPECT_THAT(none, AllOf(HasSubstr("data.validation: a share of 1e-09 of"),
                            HasSubstr("leaves nothing to validate on")));
    EXPECT_EQ(held_out(texts, named_share(none)).size(), 1U) << none;
    const std::string all = refusal(texts, std::nextafter(1.0, 0.0));
    EXPECT_THAT(all, HasSubstr("leaves nothing to train on"));
    EXPECT_EQ(held_out(texts, named_share(all)).size(), static_cast<std::size_t>(count) - 1) << all;
  }
  EXPECT_THAT(refusal({"x"}, 1e-9), AllOf(HasSubstr("1 document leaves nothing to validate"),
                                          HasSubstr("separate documents with blank lines")));
  EXPECT_THAT(refusal({"x", "x"}, 1e-9), HasSubstr("all the same text"));
}

}  // namespace
}  // namespace shoal

#include "data/tokenizer/bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "autograd/base/check.h"

namespace shoal {
namespace {

using ::testing::ElementsAre;

TEST(ByteTokenizer, HasTheIdsOfItsContract) {
  const ByteTokenizer tokenizer;
  std::vector<std::int32_t> ids{7};
  tokenizer.encode(std::string_view("A\0\xFF", 3), ids);
  EXPECT_THAT(ids, ElementsAre(7, 2 + 65, 2, 257));  // appended to what was there
  EXPECT_EQ(tokenizer.vocab_size(), 258);
  EXPECT_EQ(tokenizer.bos(), 0);
  EXPECT_EQ(tokenizer.eos(), 1);
}

TEST(ByteTokenizer, EveryByteComesBack) {
  const ByteTokenizer tokenizer;
  std::string text;
  for (int b = 0; b < 256; ++b) text += static_cast<char>(b);
  std::vector<std::int32_t> ids{tokenizer.bos()};
  tokenizer.encode(text, ids);
  ids.push_back(tokenizer.eos());
  EXPECT_EQ(tokenizer.decode(ids), text);
  std::int64_t bytes = 0;
  for (const std::int32_t id : ids) bytes += tokenizer.text_bytes(id);
  EXPECT_EQ(bytes, 256);
  EXPECT_THROW(tokenizer.decode(std::vector<std::int32_t>{258}), Error);
  EXPECT_THROW(tokenizer.decode(std::vector<std::int32_t>{-1}), Error);
}

TEST(MakeTokenizer, KnowsBytesAndRefusesTheRest) {
  EXPECT_EQ(make_tokenizer("bytes")->fingerprint(), "bytes");
  for (const char* spec : {"", "byte", "tokenizer.json"}) {
    try {
      make_tokenizer(spec);
      ADD_FAILURE() << spec;
    } catch (const Error& error) {
      EXPECT_EQ(error.why(), Failure::kUsage);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("data.tokenizer"));
    }
  }
}

}  // namespace
}  // namespace shoal

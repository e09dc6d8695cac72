#include "data/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "autograd/base/read_file.h"
#include "data/prepare.h"
#include "data/tokenizer/bytes.h"
#include "tests/support/paths.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A vocabulary that needs four bytes a token.
class Wide final : public Tokenizer {
 public:
  std::int64_t vocab_size() const override { return 70000; }
  std::int32_t bos() const override { return 69998; }
  std::int32_t eos() const override { return 69999; }
  void encode(std::string_view text, std::vector<std::int32_t>& out) const override {
    for (const char c : text) out.push_back(65000 + static_cast<unsigned char>(c));
  }
  std::string decode(std::span<const std::int32_t> ids) const override {
    std::string text;
    for (const std::int32_t id : ids) {
      if (id < 69998) text += static_cast<char>(id - 65000);
    }
    return text;
  }
  std::int64_t text_bytes(std::int32_t id) const override { return id < 69998; }
  std::string fingerprint() const override { return "wide"; }
};

std::string write_sample(const TemporaryFolder& folder, const Tokenizer& tokenizer) {
  Documents documents;
  for (const char* text : {"first", "", "the third"}) documents.add(text, tokenizer);
  std::vector<std::int64_t> order{2, 0, 1};
  write_token_file(folder / "x.tokens", documents, order, tokenizer);
  return folder / "x.tokens";
}

// Puts the right hash into damaged bytes, so that the checks before it have to see the damage.
std::string sealed(std::string bytes) {
  return bytes.replace(kTokenFileDigest, 32, token_file_digest(bytes));
}

TEST(TokenFile, GivesBackWhatWasWritten) {
  const ByteTokenizer bytes;
  const Wide wide;
  for (const Tokenizer* tokenizer :
       {static_cast<const Tokenizer*>(&bytes), static_cast<const Tokenizer*>(&wide)}) {
    const TemporaryFolder folder;
    const std::string path = write_sample(folder, *tokenizer);
    Documents back;
    back.add("before", *tokenizer);
    read_token_file(path, *tokenizer, back);
    ASSERT_EQ(back.count(), 4);
    const char* texts[] = {"before", "the third", "first", ""};
    for (std::int64_t d = 0; d < 4; ++d) {
      const auto ids = back.document(d);
      EXPECT_EQ(ids.front(), tokenizer->bos());
      EXPECT_EQ(ids.back(), tokenizer->eos());
      EXPECT_EQ(tokenizer->decode(ids), texts[d]);
    }
    const TokenFileInfo info = read_token_file_info(path);
    EXPECT_EQ(info.documents, 3);
    EXPECT_EQ(info.tokens, 20);
    EXPECT_EQ(info.vocab_size, tokenizer->vocab_size());
    EXPECT_EQ(info.token_bytes, tokenizer == &bytes ? 2 : 4);
    EXPECT_EQ(info.tokenizer, tokenizer->fingerprint());
    EXPECT_EQ(info.file_bytes, 144 + 4 * 8 + 20 * info.token_bytes);
    EXPECT_TRUE(is_token_file(path));
    EXPECT_THAT(verify_token_file(path), IsEmpty());
    // Nothing else is left in the folder.
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  }
}

// The golden file was written by a program that shares nothing with this one.
TEST(TokenFile, TheFormatIsWhatTheHeaderSays) {
  const TemporaryFolder folder;
  const ByteTokenizer tokenizer;
  Documents documents;
  for (const char* text : {"first", "the third"}) documents.add(text, tokenizer);
  write_token_file(folder / "x.tokens", documents, {0, 1}, tokenizer);
  EXPECT_EQ(read_file(folder / "x.tokens"), read_file(golden_folder() + "/two_documents.tokens"));
}

TEST(TokenFile, EveryChangedBitIsDetected) {
  const TemporaryFolder folder;
  const ByteTokenizer tokenizer;
  const std::string good = read_file(write_sample(folder, tokenizer));
  for (std::size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      Documents out;
      EXPECT_THROW(parse_token_file(bad, "x", tokenizer, out), Error) << i;
      EXPECT_EQ(out.count(), 0) << "nothing may have been taken";
      EXPECT_TRUE(out.tokens.empty());
    }
    std::string bad = good;
    bad[i] = static_cast<char>(~bad[i]);
    const std::string path = folder.write("bad.tokens", bad);
    if (i < 8) {
      EXPECT_THAT(message_of(Failure::kData, [&] { verify_token_file(path); }),
                  HasSubstr("not a token file"));
      EXPECT_FALSE(is_token_file(path));
    } else {
      EXPECT_THAT(verify_token_file(path), Not(IsEmpty())) << i;
    }
  }
}

TEST(TokenFile, EveryOtherLengthIsDetected) {
  const TemporaryFolder folder;
  const ByteTokenizer tokenizer;
  const std::string good = read_file(write_sample(folder, tokenizer));
  for (std::size_t size = 0; size < good.size(); ++size) {
    Documents out;
    EXPECT_THROW(parse_token_file(good.substr(0, size), "x", tokenizer, out), Error) << size;
  }
  for (const std::size_t more : {1U, 2U, 8U, 1000U}) {
    Documents out;
    EXPECT_THROW(parse_token_file(good + std::string(more, '\0'), "x", tokenizer, out), Error);
  }
}

// Damage under a right hash: only the checks of structure can see it.
TEST(TokenFile, AHashDoesNotMakeNonsenseTrue) {
  const TemporaryFolder folder;
  const ByteTokenizer tokenizer;
  const std::string good = read_file(write_sample(folder, tokenizer));
  Documents accepted;
  parse_token_file(sealed(good), "x", tokenizer, accepted);
  ASSERT_EQ(accepted.count(), 3);

  struct Damage {
    std::size_t at;
    std::uint64_t value;
    std::size_t bytes;
    const char* what;
  };
  const std::uint64_t huge = ~std::uint64_t{0};
  const std::size_t tokens = 144 + 4 * 8;
  const Damage cases[] = {
      {8, 2, 4, "version 2"},
      {12, 3, 4, "tokens of 3 bytes"},
      {12, 4, 4, "does not agree"},
      {16, 2, 8, "vocabulary"},
      {16, huge, 8, "vocabulary"},
      {24, 300, 4, "vocabulary"},
      {24, 1, 4, "vocabulary"},  // bos == eos
      {32, huge, 8, "does not agree"},
      {32, huge / 8, 8, "does not agree"},
      {32, 2, 8, "does not agree"},
      {32, 3 + (std::uint64_t{1} << 61), 8, "does not agree"},   // times 8 it is 3 times 8
      {40, 20 + (std::uint64_t{1} << 63), 8, "does not agree"},  // times 2 it is 20 times 2
      {40, huge, 8, "does not agree"},
      {40, huge / 2 + 1, 8, "does not agree"},
      {40, 21, 8, "does not agree"},
      {144, 1, 8, "offsets"},
      {144 + 8, 0, 8, "document 0 that begins"},
      {144 + 8, 1, 8, "document 0 that begins"},
      {144 + 8, huge, 8, "document 0 that begins"},
      {144 + 8, huge - 1, 8, "document 0 that begins"},
      {144 + 16, 12, 8, "document 1 that begins"},
      {144 + 24, 19, 8, "offsets"},
      {144 + 8, 10, 8, "not bos, text, eos"},
      {tokens + 2, 258, 2, "id 258"},
      {tokens + 2, 65535, 2, "id 65535"},
      {tokens + 2, 0, 2, "not bos, text, eos"},
      {tokens + 2, 1, 2, "not bos, text, eos"},
      {tokens, 70, 2, "not bos, text, eos"},
      {tokens + 2 * 19, 70, 2, "not bos, text, eos"},
  };
  for (const Damage& damage : cases) {
    std::string bad = good;
    std::memcpy(bad.data() + damage.at, &damage.value, damage.bytes);
    Documents out;
    const std::string message =
        message_of(Failure::kData, [&] { parse_token_file(sealed(bad), "x", tokenizer, out); });
    EXPECT_THAT(message, HasSubstr(damage.what)) << damage.at << ' ' << damage.value;
    EXPECT_EQ(out.count(), 0);
  }
}

TEST(TokenFile, AnotherTokenizersFileIsRefused) {
  const TemporaryFolder folder;
  const ByteTokenizer tokenizer;
  const Wide wide;
  const std::string path = write_sample(folder, wide);
  Documents out;
  EXPECT_THAT(message_of(Failure::kData, [&] { read_token_file(path, tokenizer, out); }),
              HasSubstr("made with tokenizer wide (70000 ids), not with bytes (258 ids)"));
}

TEST(Prepare, ShufflesWithTheSeedAndKeepsEveryDocument) {
  const TemporaryFolder folder;
  const ByteTokenizer tokenizer;
  std::string text;
  for (int i = 0; i < 50; ++i) text += concat("document ", i, "\n\n");
  const std::string input = folder.write("in.txt", text);
  std::vector<std::string> orders;
  for (const std::uint64_t seed : {1, 1, 2}) {
    const std::string out = folder / concat("out", orders.size(), ".tokens");
    EXPECT_EQ(prepare(out, {input}, tokenizer, seed).file.documents, 50);
    orders.push_back(read_file(out));
  }
  EXPECT_EQ(orders[0], orders[1]);
  EXPECT_NE(orders[0], orders[2]);
  Documents documents;
  read_token_file(folder / "out2.tokens", tokenizer, documents);
  std::vector<std::string> texts;
  for (std::int64_t d = 0; d < 50; ++d) texts.push_back(tokenizer.decode(documents.document(d)));
  std::sort(texts.begin(), texts.end());
  EXPECT_EQ(std::unique(texts.begin(), texts.end()), texts.end());
  EXPECT_EQ(texts.front(), "document 0");
}

TEST(Prepare, RefusesBeforeItLosesAnything) {
  const TemporaryFolder folder;
  const ByteTokenizer tokenizer;
  const std::string input = folder.write("in.txt", "text");
  const std::string kept = folder.write("kept.tokens", "precious");
  const auto refusal = [&](const std::string& out, const std::string& in, Failure why) {
    return message_of(why, [&] { prepare(out, {in}, tokenizer, 1); });
  };
  EXPECT_THAT(refusal(kept, input, Failure::kUsage), HasSubstr("already exists"));
  EXPECT_EQ(read_file(kept), "precious");
  EXPECT_THAT(refusal(folder / "out.bin", input, Failure::kUsage), HasSubstr(".tokens"));
  EXPECT_THAT(refusal(folder / "no/out.tokens", input, Failure::kUsage), HasSubstr("no folder"));
  EXPECT_THAT(refusal(folder / "out.tokens", folder / "no.txt", Failure::kData),
              HasSubstr("no.txt"));
  EXPECT_FALSE(std::filesystem::exists(folder / "out.tokens"));
  EXPECT_THROW(prepare(folder / "out.tokens", {}, tokenizer, 1), Error);
}

}  // namespace
}  // namespace shoal

#include "data/text_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "data/prepare.h"
#include "data/tokenizer/bytes.h"
#include "tests/support/temporary_folder.h"

namespace shoal {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> documents;
  split_text(text, "t.txt", [&](std::string_view d) { documents.emplace_back(d); });
  return documents;
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> documents;
  split_jsonl(text, "t.jsonl", [&](std::string_view d) { documents.emplace_back(d); });
  return documents;
}

std::vector<std::string> read(const std::string& path, Documents& documents) {
  const ByteTokenizer tokenizer;
  const std::int64_t before = documents.count();
  read_documents(path, tokenizer, documents);
  std::vector<std::string> texts;
  for (std::int64_t d = before; d < documents.count(); ++d) {
    const auto ids = documents.document(d);
    EXPECT_EQ(ids.front(), tokenizer.bos());
    EXPECT_EQ(ids.back(), tokenizer.eos());
    texts.push_back(tokenizer.decode(ids));
  }
  return texts;
}

std::vector<std::string> read(const std::string& path) {
  Documents documents;
  return read(path, documents);
}

std::string refusal(const std::string& path) {
  return message_of(Failure::kData, [&] { read(path); });
}

TEST(SplitText, BlankLinesSeparateDocuments) {
  EXPECT_THAT(split("one\ntwo\n\nthree\n"), ElementsAre("one\ntwo", "three"));
  EXPECT_THAT(split("one\ntwo\n"), ElementsAre("one\ntwo"));
  EXPECT_THAT(split("one\ntwo"), ElementsAre("one\ntwo"));
  EXPECT_THAT(split("\n \t\n\none\n\n\n  \ntwo\n\n"), ElementsAre("one", "two"));
  EXPECT_THAT(split("  indented \n\n x"), ElementsAre("  indented ", " x"));
  EXPECT_THAT(split("one\r\ntwo\r\n\r\nthree\r\n"), ElementsAre("one\r\ntwo", "three"));
  EXPECT_THAT(split("\xEF\xBB\xBFone"), ElementsAre("one"));
  EXPECT_THAT(split("x"), ElementsAre("x"));
  EXPECT_THAT(split(""), IsEmpty());
  EXPECT_THAT(split("\n \r\n"), IsEmpty());
}

TEST(SplitText, RefusesWhatIsNotUtf8WithItsPlace) {
  const std::string what = message_of(Failure::kData, [] { split("one\n\nt\xE9l\xE9phone\n"); });
  EXPECT_THAT(what, AllOf(HasSubstr("t.txt:3: not UTF-8"), HasSubstr("byte 6 "),
                          HasSubstr("iconv -f LATIN1 -t UTF-8 t.txt")));
  EXPECT_THAT(message_of(Failure::kData, [] { split(std::string("\xFF\xFEo\0", 4)); }),
              HasSubstr("iconv -f UTF-16"));
}

TEST(SplitJsonl, EachLineIsADocument) {
  EXPECT_THAT(lines("{\"text\": \"a\\n\\nb\"}\n\n{\"id\": 3, \"text\": \"\\u20ac\"}\r\n"),
              ElementsAre("a\n\nb", "\xE2\x82\xAC"));
  EXPECT_THAT(lines("{\"text\": \"\"}"), ElementsAre(""));
  EXPECT_THAT(lines("{\"m\": {\"text\": 3, \"l\": [{}, null]}, \"text\": \"a\", \"n\": [\"b\"]}"),
              ElementsAre("a"));
}

TEST(SplitJsonl, NamesTheLineThatIsWrong) {
  const std::string good = "{\"text\": \"a\"}\n";
  const std::pair<const char*, const char*> cases[] = {
      {"{\"text\": \"a\"", "is not JSON"},
      {"{\"text\": \"a\"} {}", "is not JSON"},
      {"{\"text\": \"\xE9\"}", "is not JSON"},
      {"{\"text\": \"\\ud800\"}", "is not JSON"},
      {"plain text", "is not JSON"},
      {"{\"text\": \"a\", \"n\": 1e999}", "is not JSON: number overflow"},
      {"[\"text\"]", "type array"},
      {"\"text\"", "type string"},
      {"{\"a\": {\"text\": \"a\"}}", "has no \"text\""},
      {"{\"text\": [\"a\"]}", "\"text\" is of type array"},
      {"{\"text\": {\"text\": \"a\"}}", "\"text\" is of type object"},
      {"{\"text\": \"a\", \"text\": \"b\"}", "more than one \"text\""},
      {"{\"txt\": \"a\"}", "has no \"text\""},
      {"{\"text\": 3}", "\"text\" is of type number"},
      {"{\"text\": null}", "\"text\" is of type null"},
  };
  for (const auto& [line, what] : cases) {
    const std::string message =
        message_of(Failure::kData, [&, &line = line] { lines(good + "\n" + line + "\n" + good); });
    EXPECT_THAT(message, AllOf(HasSubstr("t.jsonl:3: "), HasSubstr(what))) << line;
  }
}

TEST(SplitJsonl, AMessageDoesNotRepeatAHugeLine) {
  const std::string huge = "{\"text\": \"" + std::string(1000000, 'x') + "\x01\"}";
  EXPECT_LT(message_of(Failure::kData, [&] { lines(huge); }).size(), 300U);
}

TEST(SplitJsonl, DeepNestingIsNoStackOverflow) {
  const std::string deep(1000000, '[');
  EXPECT_THAT(message_of(Failure::kData, [&] { lines(deep); }), HasSubstr("is not JSON"));
  const std::string closed = deep + std::string(deep.size(), ']');
  EXPECT_THAT(message_of(Failure::kData, [&] { lines(closed); }), HasSubstr("type array"));
}

TEST(ReadDocuments, AFolderIsReadByNameAndEachTextFileIsADocument) {
  const TemporaryFolder folder;
  folder.write("b.txt", "b\n\nstill b\n\n");
  folder.write("a/z.md", "\n# z\n");
  folder.write("a/deeper/q.jsonl", "{\"text\": \"q1\"}\n{\"text\": \"q2\"}\n");
  folder.write("c.py", "print()\n");
  folder.write(".git/config", "hidden\n");
  folder.write(".hidden", "hidden\n");
  folder.write("empty.txt", "");
  folder.write("picture.png", "\x89PNG\xFF");
  Documents documents;
  EXPECT_THAT(read(folder.path(), documents),
              ElementsAre("q1", "q2", "# z", "b\n\nstill b", "print()"));
  ASSERT_THAT(documents.warnings, SizeIs(2));
  EXPECT_THAT(documents.warnings[0], HasSubstr("picture.png"));
  EXPECT_THAT(documents.warnings[1], HasSubstr("1 empty document"));
}

TEST(ReadDocuments, AFileNamedTextInAFolderHasToBeText) {
  const TemporaryFolder folder;
  folder.write("good.txt", "good");
  folder.write("bad.txt", "\xE9");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("bad.txt:1: not UTF-8"));
}

TEST(ReadDocuments, TokenFilesGiveTheirDocuments) {
  const TemporaryFolder folder;
  const ByteTokenizer tokenizer;
  prepare(folder / "x.tokens", {folder.write("x.txt", "one\n\ntwo\n\nthree")}, tokenizer, 1);
  EXPECT_THAT(read(folder / "x.tokens"), ::testing::UnorderedElementsAre("one", "two", "three"));
}

TEST(ReadDocuments, LongLinesAndSingleBytesAreText) {
  const TemporaryFolder folder;
  const std::string huge(5000000, 'x');
  EXPECT_THAT(read(folder.write("huge.txt", huge)), ElementsAre(huge));
  EXPECT_THAT(read(folder.write("one.txt", "x")), ElementsAre("x"));
}

TEST(ReadDocuments, SaysWhyNothingCanBeRead) {
  const TemporaryFolder folder;
  EXPECT_THAT(refusal(folder / "missing.txt"), HasSubstr("missing.txt: there is no such file"));
  EXPECT_THAT(refusal(folder.write("empty.txt", "")), HasSubstr("holds no text"));
  EXPECT_THAT(refusal(folder.write("blank.txt", "\n\n \n")), HasSubstr("holds no text"));
  EXPECT_THAT(refusal(folder.write("e.jsonl", "{\"text\": \"\"}\n")), HasSubstr("holds no text"));
  EXPECT_THAT(refusal(folder.write("foreign.tokens", "text")), HasSubstr("not a token file"));
  std::filesystem::create_directory(folder / "nothing");
  EXPECT_THAT(refusal(folder / "nothing"), HasSubstr("holds no text"));
  EXPECT_THAT(refusal("/dev/zero"), HasSubstr("not a regular file"));
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(refusal(folder / "pipe"), HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace shoal

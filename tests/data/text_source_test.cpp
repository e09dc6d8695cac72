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

TEST(SplitJsonl, ReadsAllThatTheRfcAllows) {
  const std::pair<const char*, const char*> cases[] = {
      {"{\"text\": \"a\", \"n\": 1e999}", "a"},
      {"{\"n\": [-0, 0.5, -1E+2, 1e-999, 123456789012345678901234567890], \"text\": \"a\"}", "a"},
      {"{\"k\": \"\\ud83d\", \"text\": \"a\"}", "a"},
      {"{\"\\ude00\": {\"\\ud83d\": \"\\ud83d\\u0041\"}, \"text\": \"a\"}", "a"},
      {"{\"te\\u0078t\": \"a\"}", "a"},
      {"{\"text\": \"\\ud83d\\ude00\\uFFFD\\u0000\"}", nullptr},
      {"\t{ \"text\" : \"\\\"\\\\\\/\\b\\f\\n\\r\\t\" , \"e\": {}, \"l\": [ ], \"b\": [true, "
       "false, null] } \r",
       "\"\\/\b\f\n\r\t"},
      {"{\"a\": {\"text\": 3}, \"text\": \"\\u00e9\\u20ac\"}", "\xC3\xA9\xE2\x82\xAC"},
  };
  for (const auto& [line, text] : cases) {
    const std::string want =
        text != nullptr ? text : std::string("\xF0\x9F\x98\x80\xEF\xBF\xBD\0", 8);
    EXPECT_THAT(lines(line), ElementsAre(want)) << line;
  }
}

TEST(SplitJsonl, SaysThePlaceOnce) {
  EXPECT_EQ(message_of(Failure::kData, [] { lines("{\"text\": \"a\"}\n{\"text\": tru}\n"); }),
            "t.jsonl:2:10: is not JSON: a value has to stand here");
}

TEST(SplitJsonl, NamesTheLineThatIsWrong) {
  const std::string good = "{\"text\": \"a\"}\n";
  const std::pair<const char*, const char*> cases[] = {
      {"{\"text\": \"a\"", "is not JSON"},
      {"{\"text\": \"a\"} {}", "is not JSON"},
      {"{\"text\": \"\xE9\"}", "11: is not UTF-8"},
      {"{\"text\": \"a\\ud800\"}", "12: \"text\" holds \\ud800, half of a surrogate pair"},
      {"{\"text\": \"\\ude00\\ud83d\"}", "11: \"text\" holds \\ude00, half"},
      {"{\"text\": \"\\ud83d\\u0041\"}", "11: \"text\" holds \\ud83d, half"},
      {"{\"text\": \"a\", \"n\": 01}", "21: is not JSON: "},
      {"{\"text\": \"a\", \"n\": 1.}", "is not JSON: a digit is missing"},
      {"{\"text\": \"a\", \"n\": +1}", "is not JSON: a value has to stand here"},
      {"{\"text\": \"a\", \"n\": NaN}", "is not JSON: a value has to stand here"},
      {"{\"text\": \"a\",}", "is not JSON: a key in quotes"},
      {"{\"text\": \"a\", \"l\": [1,]}", "is not JSON: a value"},
      {"{\"text\": \"a\", \"l\": [1}}", "',' or ']' is missing"},
      {"{\"text\": \"a\\x\"}", "13: is not JSON: no such escape"},
      {"{\"text\": \"\\u12g4\"}", "\\u needs four hex digits"},
      {"{\"text\" \"a\"}", "9: is not JSON: ':' is missing"},
      {"{'text': 'a'}", "2: is not JSON: a key in quotes"},
      {"{\"text\": \"a\"", "the line ends too early"},
      {"plain text", "is not JSON"},
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
    EXPECT_THAT(message, AllOf(HasSubstr("t.jsonl:3:"), HasSubstr(what))) << line;
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

TEST(ReadDocuments, ExtensionsCountInLettersOfAnyCase) {
  const TemporaryFolder folder;
  const std::string two = "{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
  for (const char* name :
       {"x.jsonl", "x.JSONL", "x.JsonL", "x.ndjson", "x.NDJSON", "x.json", "x.JSON"}) {
    EXPECT_THAT(read(folder.write(name, two)), ElementsAre("a", "b")) << name;
  }
  EXPECT_THAT(read(folder.write("T.TXT", "a\n\nb")), ElementsAre("a", "b"));
  prepare(folder / "x.tokens", {folder / "x.jsonl"}, ByteTokenizer(), 1);
  std::filesystem::rename(folder / "x.tokens", folder / "x.TOKENS");
  EXPECT_THAT(read(folder / "x.TOKENS"), ::testing::UnorderedElementsAre("a", "b"));
  std::filesystem::rename(folder / "x.TOKENS", folder / "renamed.bin");  // known by what it is
  EXPECT_THAT(read(folder / "renamed.bin"), ::testing::UnorderedElementsAre("a", "b"));
}

TEST(ReadDocuments, JsonThatIsNoLinesIsRefusedByName) {
  const TemporaryFolder folder;
  for (const char* text : {"[{\"text\": \"a\"}]\n", "{\n  \"text\": \"a\"\n}\n", "{\"txt\": 1}"}) {
    EXPECT_THAT(refusal(folder.write("x.json", text)),
                AllOf(HasSubstr("x.json: is JSON, but not of lines"), HasSubstr("jq -c")));
  }
  // In a folder it may be anybody's.
  folder.write("a.txt", "a");
  Documents documents;
  EXPECT_THAT(read(folder.path(), documents), ElementsAre("a"));
  EXPECT_THAT(documents.warnings, ElementsAre(HasSubstr("x.json: left out: JSON")));
  // Once its first line is one, the others have to be.
  EXPECT_THAT(refusal(folder.write("y.json", "{\"text\": \"a\"}\n[]\n")), HasSubstr("y.json:2: "));
}

TEST(ReadDocuments, JsonLinesUnderAnotherNameAreNoticed) {
  const TemporaryFolder folder;
  Documents documents;
  read(folder.write("a.txt", "\n{\"text\": \"a\"}\n{\"text\": \"b\"}\n"), documents);
  EXPECT_THAT(documents.warnings, ElementsAre(HasSubstr("a.txt: read as plain text, but")));
  documents.warnings.clear();
  read(folder.write("b.txt", "{braces}"), documents);
  EXPECT_THAT(documents.warnings, IsEmpty());
}

TEST(ReadDocuments, SaysWhatIsNoTextAndHowToGetIt) {
  const TemporaryFolder folder;
  using namespace std::string_literals;
  const std::pair<std::string, const char*> cases[] = {
      {"\x1F\x8B\x08\0\0"s, ": is compressed with gzip: unpack it first, gunzip -k "},
      {"\x28\xB5\x2F\xFD.."s, ": is compressed with zstd: unpack it first, unzstd "},
      {"\xFD"
       "7zXZ\0.."s,
       ": is compressed with xz: unpack it first"},
      {"BZh91AY&SY.."s, ": is compressed with bzip2: unpack it first"},
      {"\x04\x22\x4D\x18.."s, ": is compressed with lz4: unpack it first"},
      {"PK\x03\x04.."s, ": is a zip archive: unpack it first"},
      {std::string(257, '\0') + "ustar..", ": is a tar archive: unpack it first"},
      {"%PDF-1.7\n"s, ": is a PDF file, not text"},
      {"PAR1\x15\x04"s, ": is a Parquet file, not text"},
      {"plain, then\n\0 zero"s, ":2: is not text: it has a zero byte"},
      {"a\0b\0c\0d\0"s, "iconv -f UTF-16LE"},
      {"\0a\0b\0c\0d"s, "iconv -f UTF-16BE"},
      {"\xFF\xFE"
       "a\0"s,
       "iconv -f UTF-16 "},
      {"\x89\x01\x02\x03\x04"s, ": is not text: it is full of control characters"},
      {"caf\xE9"s, "iconv -f LATIN1"},
      {"one\r\rtwo\rthree"s, ": has CR alone as line ends"},
  };
  for (const auto& [bytes, what] : cases) {
    for (const char* name : {"c.txt", "c.jsonl", "c", "c.jsonl.gz"}) {
      EXPECT_THAT(refusal(folder.write(name, bytes)),
                  HasSubstr((what[0] == ':' ? name : std::string()) + what));
    }
  }
  EXPECT_THAT(read(folder.write("c.txt", "BZhe is a word")), ElementsAre("BZhe is a word"));
  EXPECT_THAT(read(folder.write("c.txt", "one\r")), ElementsAre("one"));
}

TEST(ReadDocuments, InAFolderOnlyWhatClaimsToBeTextHasToBe) {
  const TemporaryFolder folder;
  folder.write("a.txt", "a");
  folder.write("picture.png", "\x89PNG\xFF");
  folder.write("more.bin", std::string("a\0", 2));
  Documents documents;
  EXPECT_THAT(read(folder.path(), documents), ElementsAre("a"));
  EXPECT_THAT(documents.warnings,
              ElementsAre(HasSubstr("more.bin and 1 more: left out: not text")));
  folder.write("shard.jsonl.gz", "\x1F\x8B\x08");
  EXPECT_THAT(refusal(folder.path()), HasSubstr("shard.jsonl.gz: is compressed with gzip"));
}

TEST(ReadDocuments, WhatTheProgramWroteIsNoCorpus) {
  const TemporaryFolder folder;
  folder.write("a.txt", "a");
  for (const char* run : {"runs/x", "runs/y"}) {
    const std::string at = std::string(run) + "/";
    folder.write(at + "config.yaml", "run: {}\n");
    folder.write(at + "metrics.jsonl", "{\"kind\": \"step\"}\n");
    folder.write(at + "checkpoints/step-00000001/manifest.json", "{}");
    folder.write(at + "checkpoints/step-00000001/state.h5", "h");
  }
  folder.write("started/lock", "");  // killed before it had a configuration
  folder.write("started/log.txt", "log");
  std::filesystem::create_directory(folder / "started/checkpoints");
  folder.write("copied/step-00000001/manifest.json", "{}");
  folder.write("copied/step-00000001/state.h5", "h");
  folder.write("hub/config.json", "{}");
  folder.write("hub/model.safetensors", "m");
  folder.write("hub/tokenizer.json", "{\"text\": \"t\"}");
  folder.write("elsewhere/b.txt", "b");
  std::filesystem::create_directory_symlink(folder / "elsewhere", folder / "link");
  Documents documents;
  EXPECT_THAT(read(folder.path(), documents), ElementsAre("a", "b"));
  EXPECT_THAT(
      documents.warnings,
      ElementsAre(AllOf(HasSubstr(": 3 run(s) of this program left out"), HasSubstr("runs/x")),
                  HasSubstr("1 checkpoint(s) left out"), HasSubstr("1 folder(s) that hold a model"),
                  HasSubstr("1 link(s) to folders")));
  EXPECT_THAT(refusal(folder / "runs/x"), HasSubstr("is the folder of a run"));
  EXPECT_THAT(refusal(folder / "hub"), HasSubstr("is the folder of a model"));
  EXPECT_THAT(refusal(folder / "copied/step-00000001"), HasSubstr("is a checkpoint"));
  EXPECT_THAT(refusal(folder / "runs"), AllOf(HasSubstr("holds no text"), HasSubstr("left out")));
  EXPECT_THAT(read(folder / "link"), ElementsAre("b"));
}

TEST(ReadDocuments, TokensAndTextsOfOneFolderMayBeTheSame) {
  const TemporaryFolder folder;
  prepare(folder / "d/x.tokens", {folder.write("d/x.txt", "one\n\ntwo")}, ByteTokenizer(), 1);
  EXPECT_THAT(refusal(folder / "d"), AllOf(HasSubstr("x.tokens"), HasSubstr("x.txt"),
                                           HasSubstr("name the files that are meant")));
  std::filesystem::remove(folder / "d/x.txt");
  EXPECT_THAT(read(folder / "d"), ::testing::UnorderedElementsAre("one", "two"));
}

TEST(ReadDocuments, SaysWhereLineEndsDiffer) {
  const TemporaryFolder folder;
  Documents documents;
  EXPECT_THAT(read(folder.write("m.txt", "a\r\nb\nc\r\n\r\nd\r\n"), documents),
              ElementsAre("a\r\nb\nc", "d"));
  EXPECT_THAT(documents.warnings,
              ElementsAre(HasSubstr("m.txt: 4 line(s) end with CRLF and 1 with LF")));
  documents.warnings.clear();
  read(folder.write("d/1.txt", "a\r\nb\r\n"), documents);
  EXPECT_THAT(documents.warnings, IsEmpty());
  folder.write("d/2.txt", "a\nb\n");
  read(folder / "d", documents);
  EXPECT_THAT(documents.warnings, ElementsAre(HasSubstr("2 line(s) end with CRLF and 2 with LF")));
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
  EXPECT_THAT(refusal(folder.write("e.jsonl", "{\"text\": \"\"}\n{\"text\": \" \\n\\t\"}\n")),
              AllOf(HasSubstr("holds no text"), HasSubstr("2 empty document")));
  EXPECT_THAT(refusal(folder.write("foreign.tokens", "text")), HasSubstr("not a token file"));
  std::filesystem::create_directory(folder / "nothing");
  EXPECT_THAT(refusal(folder / "nothing"), HasSubstr("holds no text"));
  EXPECT_THAT(refusal("/dev/zero"), HasSubstr("not a regular file"));
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(refusal(folder / "pipe"), HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace shoal

#include "train/config/document/yaml_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace shoal {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Read {
  std::optional<Node> root;
  std::string problems;
};

Read read(const std::string& text) {
  Problems problems;
  const auto source = std::make_shared<const Source>(Source{"a.yaml"});
  auto root = read_yaml(text, source, problems);
  return {std::move(root), problems.text()};
}

TEST(YamlReader, BuildsATreeThatKnowsItsPlaces) {
  const Read r = read("a: 1\nb:\n  - x\n  - \"5\"\nc: {d: }\n");
  ASSERT_EQ(r.problems, "");
  const Node& root = *r.root;
  EXPECT_EQ(root.find("a")->text, "1");
  EXPECT_EQ(root.find("a")->place.text(), "a.yaml:1:4");
  EXPECT_FALSE(root.find("a")->quoted);
  EXPECT_EQ(root.find("b")->items.at(1).text, "5");
  EXPECT_TRUE(root.find("b")->items.at(1).quoted);
  EXPECT_EQ(root.find("b")->items.at(1).place.text(), "a.yaml:4:5");
  EXPECT_EQ(root.find("c")->find("d")->kind, Node::Kind::kNull);
  EXPECT_EQ(root.find("c")->find("d")->place.text(), "a.yaml:5:5");
  EXPECT_EQ(root.find("e"), nullptr);
}

TEST(YamlReader, AnEmptyTextIsNothing) {
  for (const char* text : {"", "\n\n", "# only a comment\n", "---\n"}) {
    const Read r = read(text);
    EXPECT_EQ(r.problems, "");
    EXPECT_EQ(r.root->kind, Node::Kind::kNull);
  }
}

TEST(YamlReader, AByteOrderMarkAndWindowsLinesAreFine) {
  const Read r = read(
      "\xEF\xBB\xBF"
      "a: 1\r\nb: x\r\n");
  EXPECT_EQ(r.problems, "");
  EXPECT_EQ(r.root->find("b")->text, "x");
}

TEST(YamlReader, DuplicateKeysNameBothLines) {
  EXPECT_EQ(read("a:\n  b: 1\n  c: 2\n  b: 3\n").problems,
            "a.yaml:4:3: a.b: given twice, first in line 2; keep one of them");
  EXPECT_EQ(read("\"a\": 1\na: 2\n").problems,
            "a.yaml:2:1: a: given twice, first in line 1; keep one of them");
  const Read kept = read("a: 1\na: 2\n");
  EXPECT_EQ(kept.root->find("a")->text, "1");
}

TEST(YamlReader, RefusesWhatAConfigurationDoesNotNeed) {
  EXPECT_EQ(read("a: &x 1\n").problems,
            "a.yaml:1:4: a: anchor '&x' is not supported; write the value out");
  EXPECT_THAT(read("a: &x 1\nb: *x\n").problems,
              HasSubstr("a.yaml:2:4: b: an alias ('*name') is not supported"));
  EXPECT_THAT(read("a: &x [*x]\n").problems, HasSubstr("an alias"));
  EXPECT_EQ(read("a: !!int 1\n").problems,
            "a.yaml:1:4: a: tag 'tag:yaml.org,2002:int' is not supported; remove it");
  EXPECT_THAT(read("a: !foo {b: 1}\n").problems, HasSubstr("tag '!foo'"));
  EXPECT_THAT(read("a: {b: 1}\nc:\n  <<: {d: 1}\n").problems,
              StartsWith("a.yaml:3:3: c: merge keys ('<<') are not supported"));
  EXPECT_EQ(read("a: 1\n---\nb: 2\n").problems,
            "a.yaml:2:1: a second document begins; one file holds one configuration");
  EXPECT_THAT(read("? [a]\n: 1\n").problems, HasSubstr("a key must be a plain word"));
  EXPECT_THAT(read("~: 1\n").problems, HasSubstr("a key must be a plain word, found no value"));
}

TEST(YamlReader, NestedAnchorsAreNeverExpanded) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string name = std::to_string(i), inner = "*a" + std::to_string(i - 1);
    bomb += "a" + name + ": &a" + name + " [";
    for (int k = 0; k < 10; ++k) bomb += (k > 0 ? ", " : "") + inner;
    bomb += "]\n";
  }
  EXPECT_THAT(read(bomb).problems, HasSubstr("anchor '&a0' is not supported"));
}

TEST(YamlReader, CharactersAreCheckedFirst) {
  EXPECT_EQ(read("a: \xFF\n").problems, "a.yaml:1:4: not UTF-8 text; save the file as UTF-8");
  for (const char* bad : {"\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\x80"}) {
    EXPECT_THAT(read(std::string("a: ") + bad).problems, HasSubstr("not UTF-8")) << bad;
  }
  EXPECT_EQ(read("a: \xC3\xA9\xE2\x82\xAC\xF0\x9F\x90\x9F\n").problems, "");
  EXPECT_THAT(read(std::string("a: 1\n\0b", 7)).problems,
              StartsWith("a.yaml:2:1: a control character"));
  // UTF-16, which yaml-cpp would take.
  EXPECT_THAT(read(std::string("\0a\0:\0 \0001", 8)).problems, HasSubstr("a control character"));
  EXPECT_THAT(read("\xFF\xFE\x61").problems, HasSubstr("not UTF-8"));
}

TEST(YamlReader, QuotesMustClose) {
  // The parser takes the end of the file for the end of the text.
  EXPECT_EQ(read("b: 1\na: \"x\n").problems,
            "a.yaml:2:4: a: not valid YAML (a quote that is never closed); close it");
  EXPECT_THAT(read("\xEF\xBB\xBF"
                   "a: \xC3\xA9\nb: 'x\n")
                  .problems,
              HasSubstr("a.yaml:2:4: b: "));
  EXPECT_THAT(read("a: ! x\n").problems, HasSubstr("tag '!' is not supported"));
  const Read fine = read("a: \xC3\xA9\nb: 'it''s'\nc: \"\\\\\"\nd: \"a\n  b\"\n'e': [\"\", '']\n");
  EXPECT_EQ(fine.problems, "");
  EXPECT_EQ(fine.root->find("b")->text, "it's");
  EXPECT_EQ(fine.root->find("c")->text, "\\");
  EXPECT_EQ(fine.root->find("d")->text, "a b");
}

TEST(YamlReader, SyntaxErrorsHaveAPlace) {
  for (const char* text : {"a: [1, 2\nb: 1\n", "a: 1\n b: 2\n", "a: b: c\n", "a: }\n",
                           "a: {b: 'x''}\n", "\"a\n", "b: *nothing\n", "%YAML 9.9\n---\na: 1\n"}) {
    const Read r = read(text);
    EXPECT_FALSE(r.root) << text;
    EXPECT_THAT(r.problems, StartsWith("a.yaml:")) << text;
    EXPECT_THAT(r.problems, HasSubstr("not valid YAML")) << text;
  }
  EXPECT_EQ(read("a:\n\tb: 1\n").problems,
            "a.yaml:2:1: not valid YAML (a tab indents this line); use spaces");
}

TEST(YamlReader, DepthAndSizeAreLimited) {
  const std::string deep(100000, '[');
  EXPECT_FALSE(read(deep).root);
  EXPECT_FALSE(read("a: " + deep).root);
  const std::string nest = std::string(100, '[') + std::string(100, ']');
  EXPECT_THAT(read("a: " + nest).problems, HasSubstr("nested deeper than 32 levels"));
  std::string braces;
  for (int i = 0; i < 50000; ++i) braces += "{a: ";
  EXPECT_FALSE(read(braces).root);

  const std::string long_text = "a: " + std::string(kMaxYamlBytes, 'x');
  EXPECT_EQ(read(long_text).problems, "a.yaml: longer than 1048576 bytes; no configuration is");
  EXPECT_EQ(read(long_text.substr(0, kMaxYamlBytes)).problems, "");

  std::string wide;
  for (int i = 0; i < 2000; ++i) wide += concat("k", i, ": 1\n");
  EXPECT_THAT(read(wide).problems, HasSubstr("a map of more than 1000 keys"));
}

}  // namespace
}  // namespace shoal

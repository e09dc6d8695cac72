// Help fits a screen and ends with an example that could be typed.
#include <gmock/gmock.h>

#include <algorithm>
#include <sstream>

#include "autograd/base/check.h"
#include "tests/support/program.h"

namespace shoal {
namespace {

using testing::HasSubstr;

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}

TEST(Help, OfEveryCommandFitsAScreenAndEndsWithAnExample) {
  const std::vector<std::vector<std::string>> commands = {{},
                                                          {"train"},
                                                          {"resume"},
                                                          {"eval"},
                                                          {"generate"},
                                                          {"prepare"},
                                                          {"report"},
                                                          {"export"},
                                                          {"import"},
                                                          {"inspect"},
                                                          {"verify"},
                                                          {"parity"},
                                                          {"config"},
                                                          {"config", "show"},
                                                          {"config", "schema"},
                                                          {"config", "diff"},
                                                          {"cost"},
                                                          {"bench"},
                                                          {"bench", "step"},
                                                          {"bench", "decode"},
                                                          {"bench", "peak"}};
  for (const std::vector<std::string>& command : commands) {
    std::vector<std::string> arguments = command;
    arguments.emplace_back("--help");
    std::string name = "shoal";
    for (const std::string& word : command) name += " " + word;
    SCOPED_TRACE(name);
    const Ended ended = run_program(arguments);
    EXPECT_EQ(ended.code, 0);
    EXPECT_EQ(ended.err, "");
    const std::vector<std::string> text = lines(ended.out);
    ASSERT_GE(text.size(), 5U);
    EXPECT_LE(text.size(), 40U);
    EXPECT_EQ(text[text.size() - 2], "Example:");
    EXPECT_THAT(text.back() + " ", testing::StartsWith("  " + name + " "));
    for (const std::string& line : text) EXPECT_LE(line.size(), 110U) << line;
  }
}

TEST(Help, ListsEveryCommand) {
  const Ended ended = run_program({"--help"});
  for (const char* name : {"train", "resume", "eval", "generate", "prepare", "report", "export",
                           "import", "inspect", "verify", "parity", "config", "cost", "bench"}) {
    EXPECT_THAT(ended.out, HasSubstr(concat("\n  ", name, " "))) << name;
  }
}

TEST(Help, AnErrorPointsToTheHelpOfItsCommand) {
  const auto said = [](const std::vector<std::string>& arguments) {
    const Ended ended = run_program(arguments);
    EXPECT_EQ(ended.code, 2);
    return ended.last_line();
  };
  EXPECT_THAT(
      said({"train", "x.yaml", "--dryrun"}),
      HasSubstr("unknown flag '--dryrun'; did you mean '--dry-run'?; see `shoal train --help`"));
  EXPECT_THAT(said({"bench", "step", "x.yaml", "--stepz=3"}),
              HasSubstr("see `shoal bench step --help`"));
  EXPECT_THAT(said({"generate", "x"}), HasSubstr("see `shoal generate --help`"));
  EXPECT_THAT(said({"config"}), HasSubstr("see `shoal config --help`"));
  EXPECT_THAT(said({"config", "shwo"}), HasSubstr("see `shoal config --help`"));
  EXPECT_THAT(said({"trian"}), HasSubstr("see `shoal --help`"));
  EXPECT_THAT(said({"--nonsense"}), HasSubstr("see `shoal --help`"));
}

TEST(Help, VersionNamesWhatTheProgramWasBuiltFrom) {
  const Ended ended = run_program({"--version"});
  EXPECT_EQ(ended.code, 0);
  EXPECT_THAT(ended.out, testing::MatchesRegex("shoal [0-9]+\\.[0-9]+\\.[0-9]+\n(.|\n)*"));
  for (const char* part : {"\ncompiler ", "\nprocessor ", "\nBLAS ", "\nMPI ", "\nHDF5 "}) {
    EXPECT_THAT(ended.out, HasSubstr(part));
  }
}

}  // namespace
}  // namespace shoal
